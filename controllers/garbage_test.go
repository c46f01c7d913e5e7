package controllers_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers"
)

// collected makes an AcmeServer whose database has the URI, which collect has a
// part of.
func (c *cluster) collected(t *testing.T, uri, part string, spec v1alpha1.GarbageCollectionSpec, collect controllers.CollectFunc) *v1alpha1.AcmeServer {
	t.Helper()
	c.collects.Store(part, collect)
	t.Cleanup(func() { c.collects.Delete(part) })
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: c.namespace(t)}}
	check(t, c.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "database", Namespace: server.Namespace}, StringData: map[string]string{"uri": uri},
	}))
	server.Spec.GarbageCollection = spec
	server.Spec.Database.SecretRef = &v1alpha1.DatabaseSecretReference{SecretReference: v1alpha1.SecretReference{Name: "database"}}
	check(t, c.Create(t.Context(), server))
	return server
}

func TestGarbageGoesFromTheDatabase(t *testing.T) {
	t.Parallel()
	store, account := postgrestest.New(t), acmetest.NewAccount(t)
	_, _, _, err := store.CreateAccount(t.Context(), account, nil)
	check(t, err)
	add := func(age, left time.Duration) *acme.Order {
		o, made := acmetest.NewReadyOrder(account.ID, "a.test")
		var ms [8]byte
		binary.BigEndian.PutUint64(ms[:], uint64(time.Now().Add(-age).UnixMilli()))
		copy(o.ID[:6], ms[2:])
		o.ExpiresAt = time.Now().Add(left)
		_, err := store.CreateOrder(t.Context(), acmetest.By(o.AccountID), o, made, nil)
		check(t, err)
		return o
	}
	const day = 24 * time.Hour
	old, late, live := add(31*day, -29*day), add(day, -time.Hour), add(0, time.Hour)
	server := shared.collected(t, "postgresql://garbage-real.test/acme", "garbage-real", v1alpha1.GarbageCollectionSpec{},
		func(ctx context.Context, _ controllers.Database, p acme.GarbagePolicy) (acme.GarbageReport, error) {
			return store.Collect(ctx, p)
		})
	shared.condition(t, server, v1alpha1.ConditionGarbageCollected, metav1.ConditionTrue, v1alpha1.ReasonCollected)
	if _, err := store.Order(t.Context(), acmetest.By(account.ID), old.ID); !errors.Is(err, acme.ErrNotFound) {
		t.Errorf("an old order: error %v; want that it is gone", err)
	}
	for o, want := range map[*acme.Order]acme.OrderStatus{late: acme.OrderInvalid, live: acme.OrderReady} {
		found, err := store.Order(t.Context(), acmetest.By(account.ID), o.ID)
		check(t, err)
		if found.Status != want {
			t.Errorf("an order is %s; want %s", found.Status, want)
		}
	}
	told := server.Status.GarbageCollection
	if told == nil || told.LastRun.IsZero() || told.NextRun == nil || !told.LastRun.Before(told.NextRun) || told.Swept["expired orders"] != 2 || told.Swept["old orders"] != 1 {
		t.Errorf("status.garbageCollection is %+v", told)
	}
	// The status has two owners, neither of which takes the other's fields.
	owners := map[string]string{}
	for _, entry := range server.ManagedFields {
		if entry.Subresource == "status" {
			owners[entry.Manager] = entry.FieldsV1.GetRawString()
		}
	}
	for owner, fields := range owners {
		if got := strings.Contains(fields, "arbageCollect"); got != (owner == "acme-ca-operator-garbage") {
			t.Errorf("%s owns garbage: %t\n%s", owner, got, fields)
		}
	}

	// Turned off, it is not told of any more; the rest of the status stays.
	shared.change(t, server, func(spec *v1alpha1.AcmeServerSpec) {
		spec.GarbageCollection.Interval = &metav1.Duration{}
	})
	NewWithT(t).Eventually(func() bool {
		check(t, shared.Get(t.Context(), client.ObjectKeyFromObject(server), server))
		return server.Status.GarbageCollection == nil &&
			meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionGarbageCollected) == nil
	}, patience).Should(BeTrue(), "the status tells of garbage that is not collected")
	shared.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
}

func TestGarbageIsCollectedAgainAtOnceWhereWorkIsLeft(t *testing.T) {
	t.Parallel()
	runs := make(chan acme.GarbagePolicy, 100)
	shared.collected(t, "postgresql://garbage-more.test/acme", "garbage-more",
		v1alpha1.GarbageCollectionSpec{
			Interval:  &metav1.Duration{Duration: time.Hour},
			Retention: v1alpha1.RetentionSpec{Orders: &metav1.Duration{}, Certificates: &metav1.Duration{Duration: 48 * time.Hour}},
		},
		func(_ context.Context, _ controllers.Database, p acme.GarbagePolicy) (acme.GarbageReport, error) {
			runs <- p
			return acme.GarbageReport{{Name: "some", Rows: 1, More: true}}, nil
		})
	want := acme.DefaultGarbagePolicy()
	want.Orders, want.Certificates = 0, 48*time.Hour
	for range 3 { // more than changes of the spec and of the database bring
		select {
		case p := <-runs:
			if p != want {
				t.Errorf("the policy is %+v; want %+v", p, want)
			}
		case <-time.After(patience):
			t.Fatal("no collection follows one that left work")
		}
	}
}

func TestSweepThatFailsIsToldOf(t *testing.T) {
	t.Parallel()
	uri := (&url.URL{Scheme: "postgresql", User: url.UserPassword("acme", "s3cret"), Host: "garbage-fails.test"}).String()
	server := shared.collected(t, uri, "garbage-fails", v1alpha1.GarbageCollectionSpec{},
		func(_ context.Context, d controllers.Database, _ acme.GarbagePolicy) (acme.GarbageReport, error) {
			err := errors.New("sweep old orders: not at " + d.URL)
			return acme.GarbageReport{{Name: "old orders", Err: err}, {Name: "old authorizations", Rows: 3}}, err
		})
	message := shared.condition(t, server, v1alpha1.ConditionGarbageCollected, metav1.ConditionFalse, v1alpha1.ReasonSweepFailed)
	if !strings.Contains(message, "sweep old orders") || strings.Contains(message, "s3cret") {
		t.Errorf("the message is %q", message)
	}
	if got := server.Status.GarbageCollection.Swept["old authorizations"]; got != 3 {
		t.Errorf("the other sweep took %d rows; want 3", got)
	}
	shared.event(t, server, corev1.EventTypeWarning, v1alpha1.ReasonSweepFailed)

	// It is told of, too, that it succeeds again.
	shared.collects.Delete("garbage-fails")
	reconciler, err := controllers.NewGarbage(controllers.GarbageConfig{Servers: shared.reconciler, Collect: shared.collect})
	check(t, err)
	_, err = reconciler.Reconcile(t.Context(), requestOf(server))
	check(t, err)
	shared.condition(t, server, v1alpha1.ConditionGarbageCollected, metav1.ConditionTrue, v1alpha1.ReasonCollected)
	shared.event(t, server, corev1.EventTypeNormal, v1alpha1.ReasonCollected)
}

// event waits for an event of a type and a reason.
func (c *cluster) event(t *testing.T, server *v1alpha1.AcmeServer, kind, reason string) (note string) {
	t.Helper()
	NewWithT(t).Eventually(func() bool {
		var list eventsv1.EventList
		check(t, c.List(t.Context(), &list, client.InNamespace(server.Namespace)))
		for _, e := range list.Items {
			if e.Type == kind && e.Reason == reason && e.Regarding.Name == server.Name {
				note = e.Note
				return true
			}
		}
		return false
	}, patience).Should(BeTrue(), "there is no event %s %s", kind, reason)
	return note
}

func TestGarbageThatCouldNotBeToldOfIsToldOfLater(t *testing.T) {
	t.Parallel()
	const host = "garbage-untold"
	server := shared.collected(t, "postgresql://"+host+".test/acme", host, v1alpha1.GarbageCollectionSpec{},
		func(context.Context, controllers.Database, acme.GarbagePolicy) (acme.GarbageReport, error) {
			return nil, nil
		})
	shared.condition(t, server, v1alpha1.ConditionGarbageCollected, metav1.ConditionTrue, v1alpha1.ReasonCollected)
	ctx, w := listed(t.Context())
	w.fail = true
	failed := errors.New("one failed")
	reconciler, err := controllers.NewGarbage(controllers.GarbageConfig{
		Servers: shared.reconciler,
		Collect: func(context.Context, controllers.Database, acme.GarbagePolicy) (acme.GarbageReport, error) {
			return acme.GarbageReport{{Name: "old orders", Rows: 5}, {Name: "free limits", Err: failed}}, failed
		},
	})
	check(t, err)
	if _, err := reconciler.Reconcile(ctx, requestOf(server)); err == nil {
		t.Fatal("the status was written")
	}
	_, err = reconciler.Reconcile(t.Context(), requestOf(server))
	check(t, err)
	check(t, shared.Get(t.Context(), client.ObjectKeyFromObject(server), server))
	if got := server.Status.GarbageCollection.Swept["old orders"]; got != 10 {
		t.Errorf("%d rows are told of; want those of both collections", got)
	}
}

func TestGarbageIsNotCollectedWhereTheIntervalIsZero(t *testing.T) {
	t.Parallel()
	server := shared.collected(t, "postgresql://garbage-off.test/acme", "garbage-off",
		v1alpha1.GarbageCollectionSpec{Interval: &metav1.Duration{}},
		func(context.Context, controllers.Database, acme.GarbagePolicy) (acme.GarbageReport, error) {
			t.Error("garbage is collected")
			return nil, nil
		})
	shared.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
	reconciler, err := controllers.NewGarbage(controllers.GarbageConfig{Servers: shared.reconciler, Collect: shared.collect})
	check(t, err)
	ctx, w := listed(t.Context())
	result, err := reconciler.Reconcile(ctx, requestOf(server))
	check(t, err)
	if result.RequeueAfter != 0 || len(w.requests) != 0 {
		t.Errorf("it comes again after %s, and wrote %s", result.RequeueAfter, w.requests)
	}
}

func TestGarbageThatIsCollectedAgainIsNotWritten(t *testing.T) {
	t.Parallel()
	server := shared.collected(t, "postgresql://garbage-quiet.test/acme", "garbage-quiet", v1alpha1.GarbageCollectionSpec{},
		func(context.Context, controllers.Database, acme.GarbagePolicy) (acme.GarbageReport, error) {
			return acme.GarbageReport{{Name: "expired nonces", Rows: 7}}, nil
		})
	shared.condition(t, server, v1alpha1.ConditionGarbageCollected, metav1.ConditionTrue, v1alpha1.ReasonCollected)
	reconciler, err := controllers.NewGarbage(controllers.GarbageConfig{Servers: shared.reconciler, Collect: shared.collect})
	check(t, err)
	for range 3 {
		ctx, w := listed(t.Context())
		result, err := reconciler.Reconcile(ctx, requestOf(server))
		check(t, err)
		if result.RequeueAfter != time.Minute || len(w.requests) != 0 {
			t.Errorf("it comes again after %s, and wrote %s", result.RequeueAfter, w.requests)
		}
	}
}

// requestOf returns the request for an AcmeServer.
func requestOf(server *v1alpha1.AcmeServer) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKeyFromObject(server)}
}
