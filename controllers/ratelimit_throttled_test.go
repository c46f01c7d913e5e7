package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

func TestThrottledSubjectsAreListedAndUnpaused(t *testing.T) {
	t.Parallel()
	store, account := acmetest.NewMemory(), acmetest.NewAccount(t)
	server := shared.limited(t, "limits-paused", store)
	p := policy(server, 5)
	p.Spec.PauseAfterConsecutiveFailures = 1
	check(t, shared.Create(t.Context(), p))
	shared.policyCondition(t, p, v1alpha1.ConditionEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)

	_, _, _, err := store.CreateAccount(t.Context(), account, nil)
	check(t, err)
	fail := func(name string) string {
		subject := acme.IdentifierSubject(account.ID, acme.Identifier{Type: acme.DNS, Value: name})
		o, made := acmetest.NewOrder(account.ID, name)
		_, err = store.CreateOrder(t.Context(), acmetest.By(account.ID), o, made, []acme.Spend{{
			Limit: acme.PauseAfterConsecutiveFailures, Subject: subject, Of: acme.Limit{Count: 1}, DryRun: true,
		}})
		check(t, err)
		return subject
	}
	first, second := fail("a.test"), fail("b.test")
	throttled := func() (subjects []string) {
		check(t, shared.Get(t.Context(), client.ObjectKeyFromObject(p), p))
		for _, s := range p.Status.Throttled {
			if s.Server != "internal" || s.Limit != string(acme.PauseAfterConsecutiveFailures) {
				t.Errorf("throttled is %+v", s)
			}
			subjects = append(subjects, s.Subject)
		}
		return subjects
	}
	reconcileLimits(t, server)
	NewWithT(t).Eventually(throttled, patience).Should(ConsistOf(first, second))

	shared.changePolicy(t, p, func() { p.Annotations = map[string]string{v1alpha1.AnnotationUnpause: first + ", nobody/c.test"} })
	NewWithT(t).Eventually(throttled, patience).Should(ConsistOf(second))
	check(t, shared.Get(t.Context(), client.ObjectKeyFromObject(server), server))
	if diff := cmp.Diff([]string{first, "nobody/c.test"}, server.Status.RateLimits.Unpaused); diff != "" {
		t.Errorf("what was unpaused (-want +got):\n%s", diff)
	}
	fail("a.test") // again: what the annotation still has was done once
	reconcileLimits(t, server)
	NewWithT(t).Eventually(throttled, patience).Should(ConsistOf(first, second))
	shared.unpauseNotes(t, server, And(
		ContainSubstring("internal Normal Unpaused: orders are taken again for "+first),
		MatchRegexp("internal Warning NotPaused: .* for nobody/c.test"),
	))

	// An override does it for good.
	shared.changePolicy(t, p, func() {
		p.Spec.Overrides = []v1alpha1.RateLimitOverride{{Limit: string(acme.PauseAfterConsecutiveFailures), Subject: first, Count: new(int32(0))}}
	})
	NewWithT(t).Eventually(throttled, patience).Should(ConsistOf(second))
}

// unpauseNotes waits until the events of the annotation are what they should be.
func (c *cluster) unpauseNotes(t *testing.T, server *v1alpha1.AcmeServer, want types.GomegaMatcher) {
	t.Helper()
	NewWithT(t).Eventually(func() (notes string) {
		var list eventsv1.EventList
		check(t, c.List(t.Context(), &list, client.InNamespace(server.Namespace)))
		for _, e := range list.Items {
			if e.Action == "Unpause" {
				notes += fmt.Sprintf("%s %s %s: %s\n", e.Regarding.Name, e.Type, e.Reason, e.Note)
			}
		}
		return notes
	}, patience).Should(want)
}

func TestUnpausingAtOneOfTwoAcmeServersIsNoWarningAtTheOther(t *testing.T) {
	t.Parallel()
	one, two := acmetest.NewMemory(), acmetest.NewMemory()
	server := shared.limited(t, "limits-paused-one", one)
	shared.limits.Store("postgresql://limits-paused-two.test/acme", two)
	check(t, shared.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: server.Namespace}, StringData: map[string]string{"uri": "postgresql://limits-paused-two.test/acme"},
	}))
	other := server.DeepCopy()
	other.ObjectMeta = metav1.ObjectMeta{Name: "other", Namespace: server.Namespace}
	other.Spec.Database.SecretRef.Name = "other"
	check(t, shared.Create(t.Context(), other))
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionFalse, v1alpha1.ReasonPolicyMissing)
	shared.condition(t, other, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionFalse, v1alpha1.ReasonPolicyMissing)
	p := policy(server, 5)
	p.Annotations = map[string]string{v1alpha1.AnnotationUnpause: "nobody/c.test"}
	check(t, shared.Create(t.Context(), p))
	shared.unpauseNotes(t, server, And(
		MatchRegexp("internal Normal NotPaused: .* one of the 1 others .* for nobody/c.test"),
		MatchRegexp("other Normal NotPaused: "), Not(ContainSubstring("Warning")),
	))
}

func TestUnpauseEntriesThatAreLeftOutAreToldOf(t *testing.T) {
	t.Parallel()
	server := shared.limited(t, "limits-paused-many", acmetest.NewMemory())
	entries := []string{strings.Repeat("a", 513)}
	for i := range 103 {
		entries = append(entries, fmt.Sprintf("account/%d.test", i))
	}
	p := policy(server, 5)
	p.Annotations = map[string]string{v1alpha1.AnnotationUnpause: strings.Join(entries, ",")}
	check(t, shared.Create(t.Context(), p))
	shared.unpauseNotes(t, server, And(
		ContainSubstring("internal Warning LeftOut: "), ContainSubstring("1 entries are longer than 512 bytes"),
		ContainSubstring("3 entries are more than the 100"),
	))
}
