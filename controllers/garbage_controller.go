package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

const (
	// garbageTimeout bounds a collection.
	garbageTimeout = 30 * time.Second
	// garbageAgain is the least pause before the next collection where one left work.
	garbageAgain = 50 * time.Millisecond
	// defaultGarbageInterval is for an AcmeServer that the API server has set no
	// defaults in.
	defaultGarbageInterval = time.Minute
)

// CollectFunc collects the garbage of a database once, by a policy. The report has
// what was done even where there is an error.
type CollectFunc func(ctx context.Context, d Database, p acme.GarbagePolicy) (acme.GarbageReport, error)

// GarbageConfig is what a [GarbageReconciler] works with.
type GarbageConfig struct {
	// Servers has the clients, the recorder and the clock.
	Servers *AcmeServerReconciler
	// Collect is called with a deadline.
	Collect CollectFunc
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// GarbageReconciler collects the garbage of the AcmeServers' databases, at an
// interval. It is a controller of its own, so that a slow database never delays a
// change of a spec.
type GarbageReconciler struct {
	GarbageConfig
	metrics *garbageMetrics

	mu sync.Mutex
	// swept has what was swept and is not in the status yet. What a restart of the
	// operator loses of it is in the metrics.
	swept map[types.NamespacedName]map[string]int64
}

// NewGarbage returns a reconciler, which SetupWithManager lets run.
func NewGarbage(cfg GarbageConfig) (*GarbageReconciler, error) {
	if cfg.Servers == nil || cfg.Collect == nil {
		return nil, errors.New("controllers: Servers and Collect are needed")
	}
	m, err := newGarbageMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	return &GarbageReconciler{GarbageConfig: cfg, metrics: m, swept: map[types.NamespacedName]map[string]int64{}}, nil
}

// SetupWithManager lets the reconciler run with the manager of its AcmeServers.
func (r *GarbageReconciler) SetupWithManager(mgr ctrl.Manager) error {
	databaseChanged := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return databaseReady(e.ObjectOld) != databaseReady(e.ObjectNew)
	}}
	err := ctrl.NewControllerManagedBy(mgr).Named("garbage").
		For(&v1alpha1.AcmeServer{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, databaseChanged))).
		WithOptions(options(16)). // they wait, mostly: for their databases
		Complete(r)
	if err != nil {
		return fmt.Errorf("controller of garbage: %w", err)
	}
	return nil
}

// databaseReady reports whether an AcmeServer's database can be used.
func databaseReady(o client.Object) bool {
	server, ok := o.(*v1alpha1.AcmeServer)
	return ok && meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionDatabaseReady)
}

// Reconcile collects the garbage of one AcmeServer, and comes again after the
// interval; where work is left, at once. A database that is not ready is waited
// for without a timer: its condition is watched.
func (r *GarbageReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	server := &v1alpha1.AcmeServer{}
	if err := r.Servers.Client.Get(ctx, req.NamespacedName, server); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
			r.metrics.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	interval := garbageInterval(server)
	switch {
	case !server.DeletionTimestamp.IsZero():
		return ctrl.Result{}, nil
	case interval == 0:
		r.forget(req.NamespacedName)
		r.metrics.forget(req.NamespacedName)
		return ctrl.Result{}, r.clear(ctx, server)
	case !databaseReady(server):
		return ctrl.Result{}, nil
	}
	s := &scope{server: server, now: r.Servers.Clock()}
	if err := r.Servers.readConnection(ctx, s); err != nil {
		if isBlocked(err) { // the database's own condition says so, and what helps
			return ctrl.Result{RequeueAfter: interval}, nil
		}
		return ctrl.Result{}, err
	}
	run := r.collect(ctx, s)
	if err := r.report(ctx, server, run); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: run.again(interval)}, nil
}

// garbageRun is a collection.
type garbageRun struct {
	began    time.Time
	duration time.Duration
	report   acme.GarbageReport
	err      error
}

// again is the pause before the next collection: where a sweep has left work, at
// least as long as this one took, whatever became of the other sweeps. So there is
// time for those who issue.
func (run garbageRun) again(interval time.Duration) time.Duration {
	if run.report.More() {
		return min(max(garbageAgain, run.duration), interval)
	}
	return interval
}

// collect runs a collection, and counts it.
func (r *GarbageReconciler) collect(ctx context.Context, s *scope) garbageRun {
	ctx, cancel := context.WithTimeout(ctx, garbageTimeout)
	defer cancel()
	run := garbageRun{began: s.now}
	start := time.Now()
	run.report, run.err = r.Collect(ctx, *s.database, garbagePolicy(s.server))
	run.duration = time.Since(start)
	if run.err != nil {
		// The text is for people: the libraries' own may quote the URI.
		run.err = errors.New(withoutSecrets(run.err.Error(), s.database.URL))
	}
	key := client.ObjectKeyFromObject(s.server)
	r.metrics.observe(key, run)
	rows := map[string]int64{}
	for _, sweep := range run.report {
		rows[sweep.Name] = sweep.Rows
	}
	r.add(key, rows)
	return run
}

// add counts rows that are not in the status yet.
func (r *GarbageReconciler) add(key types.NamespacedName, rows map[string]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for sweep, n := range rows {
		if n == 0 {
			continue
		}
		if r.swept[key] == nil {
			r.swept[key] = map[string]int64{}
		}
		r.swept[key][sweep] += n
	}
}

// take returns what was swept since it was taken before.
func (r *GarbageReconciler) take(key types.NamespacedName) map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	swept := r.swept[key]
	delete(r.swept, key)
	return swept
}

// forget drops what is not wanted in a status any more.
func (r *GarbageReconciler) forget(key types.NamespacedName) { _ = r.take(key) }

// garbagePolicy returns what the spec says of garbage.
func garbagePolicy(server *v1alpha1.AcmeServer) acme.GarbagePolicy {
	retention := server.Spec.GarbageCollection.Retention
	return acme.GarbagePolicy{
		Batch:          acme.DefaultGarbageBatch,
		Orders:         durationOr(retention.Orders, acme.DefaultOrderRetention),
		Authorizations: durationOr(retention.Authorizations, acme.DefaultAuthorizationRetention),
		Certificates:   durationOr(retention.Certificates, acme.DefaultCertificateRetention),
	}
}

// garbageInterval returns what the spec says of the time between two collections.
func garbageInterval(server *v1alpha1.AcmeServer) time.Duration {
	return durationOr(server.Spec.GarbageCollection.Interval, defaultGarbageInterval)
}

// durationOr returns a duration, or what stands for none.
func durationOr(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}
