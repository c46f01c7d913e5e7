package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// +kubebuilder:rbac:groups=acme-ca.dev,resources=acmeservers,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=acme-ca.dev,resources=acmeservers/status,verbs=patch
// +kubebuilder:rbac:groups=acme-ca.dev,resources=acmeservers/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch
// +kubebuilder:rbac:groups="",resources=configmaps;services;serviceaccounts,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=clusterissuers;certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=clusterissuers.cert-manager.io,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Database is how the database of an AcmeServer is reached.
type Database struct {
	// URL is the connection URI. It has the password and is never shown.
	URL string
	// RootCAs has certificates in PEM that the database's own is verified against;
	// without them, that is as the URL says.
	RootCAs []byte
	// Schema is the Postgres schema.
	Schema string
}

// PendingFunc reports whether the schema of a database is behind what the servers of
// this operator work with. It is called at every reconcile of a database that was reached
// before, and beside the reconciles until it is: it is also how the operator knows that
// the database answers.
type PendingFunc func(ctx context.Context, d Database) (bool, error)

// MigrateFunc brings a schema that is behind to what they work with.
type MigrateFunc func(ctx context.Context, d Database) error

// Config is what an [AcmeServerReconciler] works with.
type Config struct {
	// Client reads from the cache that [CacheOptions] describes, and Secrets from
	// the API server.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Namespaces are those that the manager works in; nil for all.
	Namespaces map[string]cache.Config
	// Platform is what the operator was started with.
	Platform render.Platform
	// Pending and Migrate are called with a deadline, Migrate beside the reconciles.
	Pending PendingFunc
	Migrate MigrateFunc
	// Recorder takes an event for each transition of a condition.
	Recorder events.EventRecorder
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Clock is time.Now where it is nil.
	Clock func() time.Time
}

// AcmeServerReconciler reconciles AcmeServers.
type AcmeServerReconciler struct {
	Config
	watch      certManagerWatch
	migrations *migrations
}

// New returns a reconciler, which SetupWithManager lets run.
func New(cfg Config) (*AcmeServerReconciler, error) {
	if cfg.Client == nil || cfg.Live == nil || cfg.Pending == nil || cfg.Migrate == nil || cfg.Recorder == nil {
		return nil, errors.New("controllers: Client, Live, Pending, Migrate and Recorder are needed")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &AcmeServerReconciler{Config: cfg, migrations: newMigrations()}, nil
}

// phase is a step of a reconcile. What came of it is told by its condition.
type phase struct {
	condition string
	// needs lists the conditions that no former phase may have found wanting.
	needs []string
	run   func(context.Context, *scope) error
}

// phases is the story of a reconcile. A phase returns nil, an error (it is tried
// again), or one that [blockedf] made (a change is waited for). Those that need
// nothing of it go on.
func (r *AcmeServerReconciler) phases() []phase {
	ready := []string{v1alpha1.ConditionDatabaseReady, v1alpha1.ConditionCertificateAuthorityReady}
	return []phase{
		{condition: v1alpha1.ConditionDatabaseReady, run: r.ensureDatabase},
		{condition: v1alpha1.ConditionCertificateAuthorityReady, run: r.ensureAuthority},
		{condition: v1alpha1.ConditionDatabaseReady, needs: ready[:1], run: r.migrateDatabase},
		{condition: v1alpha1.ConditionAvailable, needs: ready, run: r.ensureServer},
		{condition: v1alpha1.ConditionClusterIssuerReady, needs: ready[1:], run: r.ensureClusterIssuer},
	}
}

// Reconcile brings the cluster to what one AcmeServer asks for.
func (r *AcmeServerReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	server := &v1alpha1.AcmeServer{}
	if err := r.Client.Get(ctx, req.NamespacedName, server); err != nil {
		if apierrors.IsNotFound(err) {
			r.migrations.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !server.DeletionTimestamp.IsZero() {
		return resultOf(r.finalize(ctx, server))
	}
	s := &scope{server: server, now: r.Clock(), outcomes: map[string]outcome{}}
	err := r.observe(ctx, s)
	if err == nil {
		err = errors.Join(r.run(ctx, s), r.report(ctx, s))
	}
	if err != nil {
		return resultOf(err)
	}
	return s.result(), nil
}

// resultOf tells when to come again after an error, and whether it is one to log.
func resultOf(err error) (ctrl.Result, error) {
	switch {
	case apierrors.IsConflict(err):
		// Somebody wrote what we had read before; what they wrote comes, or has come.
		return ctrl.Result{RequeueAfter: time.Second}, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// The AcmeServer will be deleted in a moment, unless it is cert-manager's namespace that ends.
		return ctrl.Result{RequeueAfter: lastRetry}, nil
	}
	return ctrl.Result{}, err
}

// run goes through the phases.
func (r *AcmeServerReconciler) run(ctx context.Context, s *scope) error {
	var errs []error
	for _, p := range r.phases() {
		if s.failed(p.needs) != "" {
			continue
		}
		err := p.run(ctx, s)
		if err == nil {
			continue
		}
		s.outcomes[p.condition] = outcomeOf(err)
		if !isBlocked(err) {
			errs = append(errs, fmt.Errorf("%s: %w", p.condition, err))
		}
	}
	return errors.Join(errs...)
}

// result asks for the reconcile that time makes necessary, if any.
func (s *scope) result() ctrl.Result {
	if s.wakeAt.IsZero() {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: max(s.wakeAt.Sub(s.now), time.Second)}
}
