package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// +kubebuilder:rbac:groups=acme-ca.dev,resources=acmeratelimitpolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=acme-ca.dev,resources=acmeratelimitpolicies/status,verbs=patch

const (
	// limitsTimeout bounds what is asked of a database in one reconcile.
	limitsTimeout = 10 * time.Second
	// limitsSoon is how often servers are looked at that are about to enforce another
	// policy, which takes them half a second.
	limitsSoon = 250 * time.Millisecond
	// limitsPatience is how long that is expected to take. Who has not done it by
	// then is looked at less often.
	limitsPatience = 10 * time.Second
	// limitsAgain is how often they are looked at after that, those that end until they
	// have, and how soon a database that has failed is tried again, at first.
	limitsAgain = 5 * time.Second
	// limitsInterval is how often it is looked up who is throttled, and the most between
	// two tries of a database that fails.
	limitsInterval = 30 * time.Second
)

// LimitStore is what is asked of the database of an AcmeServer about its limits.
type LimitStore interface {
	// SetRateLimitPolicy puts a policy in force and returns its generation, which
	// changes with it only. RateLimitPolicy returns it.
	SetRateLimitPolicy(ctx context.Context, p acme.RateLimitPolicy) (generation int64, err error)
	RateLimitPolicy(ctx context.Context) (acme.RateLimitPolicy, error)
	// Replicas lists the servers that are at work, and what they enforce.
	Replicas(ctx context.Context) ([]acme.Replica, error)
	// Throttled lists who has used up a limit of a policy, those that wait longest first.
	Throttled(ctx context.Context, p *acme.RateLimitPolicy, atMost int) ([]acme.Throttle, error)
	// Unpause lets the orders of an account for an identifier be taken again;
	// [acme.ErrNotFound] where they are.
	Unpause(ctx context.Context, subject string) error
	// Close lets go of the database.
	Close()
}

// RateLimitConfig is what a [RateLimitReconciler] works with.
type RateLimitConfig struct {
	// Servers has the clients, the recorder and the clock.
	Servers *AcmeServerReconciler
	// Open is called with a deadline, once for each reconcile.
	Open func(ctx context.Context, d Database) (LimitStore, error)
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// RateLimitReconciler brings the limits that AcmeServers ask for to their
// databases, where their servers find them, and tells who enforces them. It is a
// controller of its own: what it waits for, nothing else has to wait for.
//
// A policy that is missing, or cannot be enforced, changes nothing: the limits in
// force stay. To delete one by mistake shall neither open the gates nor close them.
type RateLimitReconciler struct {
	RateLimitConfig
	metrics *limitMetrics
	// retries tells when a database is asked again that did not do what it was asked.
	retries workqueue.TypedRateLimiter[types.NamespacedName]

	mu sync.Mutex
	// changed has when a policy was put in force that not all servers enforce yet.
	changed map[types.NamespacedName]time.Time
	// leftOut has the annotation of a policy of which was told that not all is done.
	leftOut map[types.NamespacedName]string
}

// NewRateLimits returns a reconciler, which SetupWithManager lets run.
func NewRateLimits(cfg RateLimitConfig) (*RateLimitReconciler, error) {
	if cfg.Servers == nil || cfg.Open == nil {
		return nil, errors.New("controllers: Servers and Open are needed")
	}
	m, err := newLimitMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	return &RateLimitReconciler{
		RateLimitConfig: cfg, metrics: m, changed: map[types.NamespacedName]time.Time{}, leftOut: map[types.NamespacedName]string{},
		retries: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](limitsAgain, limitsInterval),
	}, nil
}

// policyIndex indexes AcmeServers by the AcmeRateLimitPolicy that they refer to.
const policyIndex = "rateLimitPolicy"

// SetupWithManager lets the reconciler run with the manager of its AcmeServers.
func (r *RateLimitReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.AcmeServer{}, policyIndex, func(o client.Object) []string {
		if server, ok := o.(*v1alpha1.AcmeServer); ok && server.Spec.RateLimitPolicyRef != nil {
			return []string{server.Spec.RateLimitPolicyRef.Name}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("indexing AcmeServers by their AcmeRateLimitPolicy: %w", err)
	}
	serversChanged := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, _ := e.ObjectOld.(*v1alpha1.AcmeServer)
		now, ok := e.ObjectNew.(*v1alpha1.AcmeServer)
		return ok && (databaseReady(before) != databaseReady(now) ||
			before.Status.Replicas != now.Status.Replicas || before.Status.ReadyReplicas != now.Status.ReadyReplicas)
	}}
	policyChanged := predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
	err = ctrl.NewControllerManagedBy(mgr).Named("ratelimits").
		For(&v1alpha1.AcmeServer{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, serversChanged))).
		Watches(&v1alpha1.AcmeRateLimitPolicy{}, handler.EnqueueRequestsFromMapFunc(r.serversOfPolicy), builder.WithPredicates(policyChanged)).
		WithOptions(options(32)). // they wait, mostly: for their databases
		Complete(r)
	if err != nil {
		return fmt.Errorf("controller of rate limits: %w", err)
	}
	return nil
}

// serversOfPolicy maps an AcmeRateLimitPolicy to the AcmeServers that refer to it.
func (r *RateLimitReconciler) serversOfPolicy(ctx context.Context, policy client.Object) []reconcile.Request {
	return r.Servers.requests(ctx, client.InNamespace(policy.GetNamespace()), client.MatchingFields{policyIndex: policy.GetName()})
}

// Reconcile puts the limits in force that one AcmeServer asks for, and comes again
// until its servers enforce them; then, to see who is throttled.
func (r *RateLimitReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	server := &v1alpha1.AcmeServer{}
	if err := r.Servers.Client.Get(ctx, req.NamespacedName, server); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !server.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	l := &limitScope{server: server, now: r.Servers.Clock()}
	err := r.wanted(ctx, l)
	if err == nil || isBlocked(err) {
		asked := r.enforce(ctx, l)
		l.blocked = isBlocked(asked)
		err = errors.Join(err, asked)
	}
	if err != nil {
		l.outcome = outcomeOf(err)
	}
	if err := r.report(ctx, l); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: r.next(l)}, nil
}

// limitScope is one reconcile of the limits of one AcmeServer.
type limitScope struct {
	server *v1alpha1.AcmeServer
	now    time.Time
	// policy is what the spec refers to; nil where that is nothing, or is not there.
	policy *v1alpha1.AcmeRateLimitPolicy
	// limits are to be in force; nil where what is in force stays.
	limits *acme.RateLimitPolicy
	// inForce is what is, who enforces it and who is throttled by it; nil where that
	// could not be asked.
	inForce   *acme.RateLimitPolicy
	replicas  []acme.Replica
	throttled []acme.Throttle
	// blocked says that the database will be watched to be ready.
	blocked bool
	// unpaused and notPaused are of the annotation, what was done just now.
	unpaused, notPaused []string
	// outcome is what the condition says.
	outcome outcome
}

// wanted finds out which limits are to be in force.
func (r *RateLimitReconciler) wanted(ctx context.Context, l *limitScope) error {
	ref := l.server.Spec.RateLimitPolicyRef
	if ref == nil {
		l.limits = &acme.RateLimitPolicy{}
		return nil
	}
	policy := &v1alpha1.AcmeRateLimitPolicy{}
	err := r.Servers.Client.Get(ctx, client.ObjectKey{Namespace: l.server.Namespace, Name: ref.Name}, policy)
	if apierrors.IsNotFound(err) {
		return blockedf(v1alpha1.ReasonPolicyMissing,
			"the AcmeRateLimitPolicy %s of spec.rateLimitPolicyRef does not exist: make it; until then the limits in force stay", ref.Name)
	}
	if err != nil {
		return fmt.Errorf("reading AcmeRateLimitPolicy %s: %w", ref.Name, err)
	}
	l.policy = policy
	limits, err := render.RateLimitPolicy(&policy.Spec)
	if err != nil {
		return blockedf(v1alpha1.ReasonPolicyInvalid,
			"the AcmeRateLimitPolicy %s cannot be enforced, and the limits in force stay: %s", ref.Name, err)
	}
	l.limits = &limits
	return nil
}

// enforce puts the limits in force, and finds out who enforces them.
func (r *RateLimitReconciler) enforce(ctx context.Context, l *limitScope) error {
	if !databaseReady(l.server) {
		return blockedf(v1alpha1.ReasonWaiting, "waits for the database; servers go on with the limits that they have")
	}
	s := &scope{server: l.server, now: l.now}
	if err := r.Servers.readConnection(ctx, s); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limitsTimeout)
	defer cancel()
	store, err := r.Open(ctx, *s.database)
	if err == nil {
		defer store.Close()
		err = r.ask(ctx, store, l)
	}
	if err != nil {
		r.metrics.failures.Inc()
		// The text is for people: the libraries' own may quote the URI.
		return retryf(v1alpha1.ReasonUnreachable, "tried again within half a minute; servers go on with the limits that they have: %s",
			withoutSecrets(err.Error(), s.database.URL))
	}
	l.outcome = enforcement(l)
	return nil
}

// ask does all that is asked of the database.
func (r *RateLimitReconciler) ask(ctx context.Context, store LimitStore, l *limitScope) error {
	inForce := l.limits
	if inForce == nil {
		p, err := store.RateLimitPolicy(ctx)
		if err != nil {
			return err
		}
		inForce = &p
	} else {
		generation, err := store.SetRateLimitPolicy(ctx, *inForce)
		if err != nil {
			return err
		}
		inForce.Generation = generation
	}
	for _, subject := range toUnpause(l) {
		switch err := store.Unpause(ctx, subject); {
		case errors.Is(err, acme.ErrNotFound):
			l.notPaused = append(l.notPaused, subject)
		case err != nil:
			return err
		default:
			l.unpaused = append(l.unpaused, subject)
		}
	}
	replicas, err := store.Replicas(ctx)
	if err != nil {
		return err
	}
	throttled, err := store.Throttled(ctx, inForce, maxThrottled)
	if err != nil {
		return err
	}
	l.inForce, l.replicas, l.throttled = inForce, replicas, throttled
	return nil
}

// next returns when to come again, 0 where a change is waited for, and counts how long a change has taken.
func (r *RateLimitReconciler) next(l *limitScope) time.Duration {
	key := client.ObjectKeyFromObject(l.server)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case l.blocked && !databaseReady(l.server): // else what was missing for a moment is there again, and no change follows
		r.retries.Forget(key)
		return 0
	case l.inForce == nil:
		return r.retries.When(key)
	}
	r.retries.Forget(key)
	since, waiting := r.changed[key]
	if !behind(l) {
		if waiting {
			r.metrics.enforcement.Observe(r.Servers.Clock().Sub(since).Seconds())
			delete(r.changed, key)
		}
		if len(l.replicas) != int(l.server.Status.ReadyReplicas) { // those that end, or have begun, are told of soon
			return limitsAgain
		}
		return limitsInterval
	}
	if !waiting {
		since = l.now
		r.changed[key] = since
	}
	if l.now.Sub(since) < limitsPatience {
		return limitsSoon
	}
	return limitsAgain
}

// behind reports whether a server enforces other limits than those in force.
func behind(l *limitScope) bool {
	return slices.ContainsFunc(l.replicas, func(r acme.Replica) bool { return r.Generation != l.inForce.Generation })
}

// forget drops what is known of an AcmeServer that is gone.
func (r *RateLimitReconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.changed, key)
	r.retries.Forget(key)
	delete(r.leftOut, key)
	r.metrics.forget(key)
}
