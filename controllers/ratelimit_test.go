package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers"
)

// limitStore is a store that several reconciles use, one after the other.
type limitStore struct{ acmetest.Store }

// Close leaves the store open for the next.
func (limitStore) Close() {}

// rateLimits returns the configuration of the limits' controller: a database has
// its limits in memory unless the test says where.
func (c *cluster) rateLimits() controllers.RateLimitConfig {
	return controllers.RateLimitConfig{Servers: c.reconciler, Open: func(_ context.Context, d controllers.Database) (controllers.LimitStore, error) {
		found, _ := c.limits.LoadOrStore(d.URL, acmetest.NewMemory())
		if store, ok := found.(acmetest.Store); ok {
			return limitStore{store}, nil
		}
		return nil, fmt.Errorf("nobody answers at %s", d.URL)
	}}
}

// limited makes an AcmeServer with a database that keeps its limits in a store, and
// refers to the policy `limits`.
func (c *cluster) limited(t *testing.T, host string, store acmetest.Store) *v1alpha1.AcmeServer {
	t.Helper()
	uri := "postgresql://" + host + ".test/acme"
	c.limits.Store(uri, store)
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: c.namespace(t)}}
	check(t, c.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "database", Namespace: server.Namespace}, StringData: map[string]string{"uri": uri},
	}))
	server.Spec.Database.SecretRef = &v1alpha1.DatabaseSecretReference{SecretReference: v1alpha1.SecretReference{Name: "database"}}
	server.Spec.RateLimitPolicyRef = &v1alpha1.RateLimitPolicyReference{Name: "limits"}
	check(t, c.Create(t.Context(), server))
	return server
}

// policy returns a policy `limits` for an AcmeServer, of some orders an hour.
func policy(server *v1alpha1.AcmeServer, orders int32) *v1alpha1.AcmeRateLimitPolicy {
	return &v1alpha1.AcmeRateLimitPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "limits", Namespace: server.Namespace},
		Spec:       v1alpha1.AcmeRateLimitPolicySpec{OrdersPerAccount: perHour(orders)},
	}
}

// perHour is a limit of some an hour.
func perHour(n int32) *v1alpha1.RateLimit {
	return &v1alpha1.RateLimit{Count: &n, Period: &metav1.Duration{Duration: time.Hour}}
}

// changePolicy edits a policy.
func (c *cluster) changePolicy(t *testing.T, p *v1alpha1.AcmeRateLimitPolicy, edit func()) {
	t.Helper()
	check(t, c.Get(t.Context(), client.ObjectKeyFromObject(p), p))
	patch := client.MergeFrom(p.DeepCopy())
	edit()
	check(t, c.Patch(t.Context(), p, patch))
}

// policyCondition waits until a condition of a policy has a status and a reason, for
// its present spec, and returns its message.
func (c *cluster) policyCondition(t *testing.T, p *v1alpha1.AcmeRateLimitPolicy, name string, status metav1.ConditionStatus, reason string) string {
	t.Helper()
	var found metav1.Condition
	NewWithT(t).Eventually(func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err.Error()
		}
		if condition := meta.FindStatusCondition(p.Status.Conditions, name); condition != nil && condition.ObservedGeneration == p.Generation {
			found = *condition
		}
		return fmt.Sprintf("%s %s", found.Status, found.Reason)
	}, patience).Should(Equal(fmt.Sprintf("%s %s", status, reason)), func() string { return name + ": " + found.Message })
	return found.Message
}

// replicas runs what servers enforce limits by, on a store, until the test ends or
// they are told to stop.
func replicas(t *testing.T, store ratelimit.Source, names ...string) (limiters []*ratelimit.Limiter, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	for _, name := range names {
		l := ratelimit.New(acme.RateLimitPolicy{})
		limiters = append(limiters, l)
		go func() {
			l.Run(ctx, store, name, func(err error) { t.Log(err) }) // of a busy machine
			ended <- struct{}{}
		}()
	}
	stop = func() {
		cancel()
		for range names {
			<-ended
		}
		names = nil
	}
	t.Cleanup(stop)
	return limiters, stop
}

// enforcedWithin is how long a change may take that is promised within a second, on a
// machine that runs all other tests at the same time.
const enforcedWithin = 10 * time.Second

func TestChangedPolicyIsEnforcedByEveryServer(t *testing.T) {
	t.Parallel()
	store := postgrestest.New(t)
	limiters, stop := replicas(t, store, "pod-1", "pod-2", "pod-3")
	server := shared.limited(t, "limits-change", store)
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionFalse, v1alpha1.ReasonPolicyMissing)
	p := policy(server, 100)
	for i, orders := range []int32{100, 7, 90} {
		begun := time.Now()
		if i == 0 {
			check(t, shared.Create(t.Context(), p))
		} else {
			shared.changePolicy(t, p, func() { p.Spec.OrdersPerAccount = perHour(orders) })
		}
		NewWithT(t).Eventually(func() bool {
			for _, l := range limiters {
				enforced := l.Enforced()
				if enforced.LimitOf(acme.OrdersPerAccount).Count != int(orders) {
					return false
				}
			}
			return true
		}, patience, time.Millisecond).Should(BeTrue(), "not every server enforces %d orders an hour", orders)
		took := time.Since(begun).Round(time.Millisecond)
		t.Logf("%s from applied to enforced by every server", took)
		if took > enforcedWithin {
			t.Errorf("%s from applied to enforced by every server; want a second, and less than %s on a busy machine", took, enforcedWithin)
		}

		NewWithT(t).Eventually(func() string { // a server that was late for the first time is told of later
			return shared.policyCondition(t, p, v1alpha1.ConditionEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
		}, patience).Should(Equal(fmt.Sprintf("3 of 3 servers of AcmeServer internal enforce generation %d", i+1)))
		shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
		limits := server.Status.RateLimits
		if limits.Policy != "limits" || limits.PolicyGeneration != int64(i+1) || limits.Replicas != 3 || limits.Enforcing != 3 ||
			limits.Limits["ordersPerAccount"] != fmt.Sprintf("%d per 1h", orders) || limits.Limits["concurrentOrdersPerAccount"] != "1000 at once" {
			t.Errorf("status.rateLimits is %+v", limits)
		}
	}
	stop()
	left, err := store.Replicas(t.Context())
	check(t, err)
	if len(left) != 0 {
		t.Errorf("servers that have ended are waited for: %v", left)
	}
}

// reportBehind reports a server that enforces no policy, as often as servers do, until
// what it returns is called.
func reportBehind(t *testing.T, store ratelimit.Source, name string) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var reporting sync.WaitGroup
	reporting.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for ctx.Err() == nil {
			if _, err := store.SyncRateLimitPolicy(ctx, name, 0); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		reporting.Wait()
	}
}

func TestServerThatDoesNotFollowIsNamed(t *testing.T) {
	t.Parallel()
	store := acmetest.NewMemory()
	_, _ = replicas(t, store, "quick")
	ended := reportBehind(t, store, "slow")
	server := shared.limited(t, "limits-slow", store)
	p := policy(server, 5)
	p.Spec.Mode = v1alpha1.RateLimitDryRun
	check(t, shared.Create(t.Context(), p))
	message := shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	if !strings.Contains(message, " of 2 servers enforce the AcmeRateLimitPolicy limits of generation 1") {
		t.Errorf("the message is %q", message)
	}
	NewWithT(t).Eventually(func() []v1alpha1.ReplicaBehind {
		check(t, shared.Get(t.Context(), client.ObjectKeyFromObject(server), server))
		return server.Status.RateLimits.Behind
	}, patience).Should(Equal([]v1alpha1.ReplicaBehind{{Name: "slow"}}))
	shared.policyCondition(t, p, v1alpha1.ConditionEnforced, metav1.ConditionFalse, v1alpha1.ReasonProgressing)

	ended()
	check(t, store.ForgetReplica(t.Context(), "slow"))
	message = shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
	if !strings.Contains(message, "1 of 1 servers") || !strings.Contains(message, "DryRun: nothing is refused") || server.Status.RateLimits.Mode != v1alpha1.RateLimitDryRun {
		t.Errorf("the message is %q", message)
	}
}

func TestPolicyThatIsMissingChangesNothing(t *testing.T) {
	t.Parallel()
	store := acmetest.NewMemory()
	server := shared.limited(t, "limits-missing", store)
	message := shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionFalse, v1alpha1.ReasonPolicyMissing)
	if !strings.Contains(message, "AcmeRateLimitPolicy limits of spec.rateLimitPolicyRef does not exist: make it") {
		t.Errorf("the message is %q", message)
	}
	builtIn := func() bool {
		check(t, shared.Get(t.Context(), client.ObjectKeyFromObject(server), server))
		got := server.Status.RateLimits
		return got != nil && got.Policy == "" && got.PolicyGeneration == 0 && got.Limits["ordersPerAccount"] == "3000 per 1h"
	}
	NewWithT(t).Eventually(builtIn, patience).Should(BeTrue(), "status.rateLimits are not the built-in ones")

	p := policy(server, 11)
	check(t, shared.Create(t.Context(), p)) // wakes it
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
	check(t, shared.Delete(t.Context(), p))
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionFalse, v1alpha1.ReasonPolicyMissing)
	inForce, err := store.RateLimitPolicy(t.Context())
	check(t, err)
	if got := inForce.LimitOf(acme.OrdersPerAccount).Count; got != 11 || server.Status.RateLimits.Policy != "limits" {
		t.Errorf("deleted, it is %d orders, and the status %+v; want what was in force", got, server.Status.RateLimits)
	}

	shared.change(t, server, func(spec *v1alpha1.AcmeServerSpec) { spec.RateLimitPolicyRef = nil })
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
	if !builtIn() {
		t.Errorf("status.rateLimits is %+v; want the built-in ones", server.Status.RateLimits)
	}
}

func TestPolicyThatCannotBeEnforcedIsNotAccepted(t *testing.T) {
	t.Parallel()
	server := shared.limited(t, "limits-invalid", acmetest.NewMemory())
	p := policy(server, 1)
	// By whole seconds, as the API server reckons, it is just short enough.
	p.Spec.OrdersPerAccount.Period, p.Spec.OrdersPerAccount.Burst = &metav1.Duration{Duration: 100900 * time.Millisecond}, new(int32(316000))
	check(t, shared.Create(t.Context(), p))
	for _, condition := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionEnforced} {
		message := shared.policyCondition(t, p, condition, metav1.ConditionFalse, v1alpha1.ReasonPolicyInvalid)
		if !strings.Contains(message, "ordersPerAccount: a burst of 316000") {
			t.Errorf("%s: the message is %q", condition, message)
		}
	}
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionFalse, v1alpha1.ReasonPolicyInvalid)
}

func TestPolicyOfTwoAcmeServersIsEnforcedWhereBothDo(t *testing.T) {
	t.Parallel()
	one, two := acmetest.NewMemory(), acmetest.NewMemory()
	replicas(t, one, "one-1", "one-2")
	replicas(t, two, "two-1")
	shared.limits.Store("postgresql://limits-other.test/acme", two)
	server := shared.limited(t, "limits-one", one)
	other := server.DeepCopy()
	other.ObjectMeta = metav1.ObjectMeta{Name: "other", Namespace: server.Namespace}
	other.Spec.Database.SecretRef.Name = "missing"
	check(t, shared.Create(t.Context(), other))
	p := policy(server, 5)
	check(t, shared.Create(t.Context(), p))
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
	NewWithT(t).Eventually(func() string {
		return shared.policyCondition(t, p, v1alpha1.ConditionEnforced, metav1.ConditionFalse, v1alpha1.ReasonWaiting)
	}, patience).Should(HavePrefix("AcmeServer other: waits for the database"))
	check(t, shared.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "missing", Namespace: server.Namespace}, StringData: map[string]string{"uri": "postgresql://limits-other.test/acme"},
	}))
	NewWithT(t).Eventually(func() string {
		return shared.policyCondition(t, p, v1alpha1.ConditionEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
	}, patience).Should(Equal("3 of 3 servers of 2 AcmeServers enforce generation 1"))
	want := []v1alpha1.PolicyServer{{Name: "internal", Generation: 1, Replicas: 2, Enforcing: 2}, {Name: "other", Generation: 1, Replicas: 1, Enforcing: 1}}
	if diff := cmp.Diff(want, p.Status.Servers); diff != "" || p.Status.ServerCount != 2 {
		t.Errorf("status.servers (-want +got):\n%s", diff)
	}
}

func TestPolicyThatNobodyRefersToSaysSo(t *testing.T) {
	t.Parallel()
	p := policy(&v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Namespace: shared.namespace(t)}}, 1)
	check(t, shared.Create(t.Context(), p))
	shared.policyCondition(t, p, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	shared.policyCondition(t, p, v1alpha1.ConditionEnforced, metav1.ConditionFalse, v1alpha1.ReasonNotReferenced)
}

func TestDatabaseThatCannotBeAskedAboutLimitsIsToldOf(t *testing.T) {
	t.Parallel()
	server := shared.limited(t, "limits-down", acmetest.NewMemory())
	check(t, shared.Create(t.Context(), policy(server, 1)))
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
	shared.limits.Store("postgresql://limits-down.test/acme", nil)
	reconciler, err := controllers.NewRateLimits(shared.rateLimits())
	check(t, err)
	for _, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second} {
		result, err := reconciler.Reconcile(t.Context(), requestOf(server))
		check(t, err)
		if result.RequeueAfter != want {
			t.Errorf("it is tried again after %s; want %s", result.RequeueAfter, want)
		}
	}
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionFalse, v1alpha1.ReasonUnreachable)
	if server.Status.RateLimits == nil || server.Status.RateLimits.Policy != "limits" {
		t.Errorf("status.rateLimits is %+v; want what was told before", server.Status.RateLimits)
	}
}

// reconcileLimits reconciles the limits of an AcmeServer once more, and returns what
// that wrote and when it comes again.
func reconcileLimits(t *testing.T, server *v1alpha1.AcmeServer) (written []string, again time.Duration) {
	t.Helper()
	reconciler, err := controllers.NewRateLimits(shared.rateLimits())
	check(t, err)
	ctx, w := listed(t.Context())
	result, err := reconciler.Reconcile(ctx, requestOf(server))
	check(t, err)
	return w.requests, result.RequeueAfter
}

func TestLimitsThatAreAsTheyWereAreNotWritten(t *testing.T) {
	t.Parallel()
	store := acmetest.NewMemory()
	replicas(t, store, "pod")
	server := shared.limited(t, "limits-quiet", store)
	p := policy(server, 5)
	check(t, shared.Create(t.Context(), p))
	shared.policyCondition(t, p, v1alpha1.ConditionEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
	if _, again := reconcileLimits(t, server); again != 5*time.Second {
		t.Errorf("a server that is at work and not ready is looked at after %s", again)
	}
	shared.startServers(t, server, 1)
	// The cache learns of it a moment later.
	NewWithT(t).Eventually(func() time.Duration {
		_, again := reconcileLimits(t, server)
		return again
	}, patience).Should(Equal(30 * time.Second))
	policies, err := controllers.NewRateLimitPolicies(shared.reconciler)
	check(t, err)
	before, err := store.RateLimitPolicy(t.Context())
	check(t, err)
	for range 3 {
		if written, again := reconcileLimits(t, server); len(written) != 0 || again != 30*time.Second {
			t.Errorf("wrote %v, and comes again after %s", written, again)
		}
		ctx, w := listed(t.Context())
		result, err := policies.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(p)})
		check(t, err)
		if len(w.requests) != 0 || result.RequeueAfter != 0 {
			t.Errorf("of the policy: wrote %v, and comes again after %s", w.requests, result.RequeueAfter)
		}
	}
	inForce, err := store.RateLimitPolicy(t.Context())
	check(t, err)
	if inForce.Generation != before.Generation {
		t.Errorf("the database counts %d changes more", inForce.Generation-before.Generation)
	}
}
