package controllers_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
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
	NewWithT(t).Eventually(func() (notes string) {
		var list eventsv1.EventList
		check(t, shared.List(t.Context(), &list, client.InNamespace(server.Namespace)))
		for _, e := range list.Items {
			if e.Action == "Unpause" {
				notes += e.Reason + ": " + e.Note + "\n"
			}
		}
		return notes
	}, patience).Should(And(ContainSubstring("Unpaused: orders are taken again for "+first), ContainSubstring("for nobody/c.test")))

	// An override does it for good.
	shared.changePolicy(t, p, func() {
		p.Spec.Overrides = []v1alpha1.RateLimitOverride{{Limit: string(acme.PauseAfterConsecutiveFailures), Subject: first, Count: new(int32(0))}}
	})
	NewWithT(t).Eventually(throttled, patience).Should(ConsistOf(second))
}
