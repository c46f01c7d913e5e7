package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

func TestWrongLimitsAreRefusedWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	namespace := shared.namespace(t)
	var report strings.Builder
	for _, test := range []struct{ name, spec string }{
		{"no period", `{ordersPerAccount: {count: 5}}`},
		{"no count", `{ordersPerAccount: {period: 1h}}`},
		{"a period that is none", `{ordersPerAccount: {count: 5, period: an hour}}`},
		{"a period that is too short", `{requestsPerAddress: {count: 5, period: 10ms}}`},
		{"a period that is too long", `{certificatesPerDomain: {count: 5, period: 9000h}}`},
		{"less than none", `{keyChangesPerAccount: {count: -1, period: 1h}}`},
		{"a burst that never becomes free", `{accountsPerAddress: {count: 1, period: 24h, burst: 1000}}`},
		{"a period of what is counted", `{concurrentOrdersPerAccount: {count: 5, period: 1h}}`},
		{"a mode that is not known", `{mode: Never}`},
		{"a limit that is not known", `{ordersPerDomain: {count: 5, period: 1h}}`},
		{"failures less than none", `{pauseAfterConsecutiveFailures: -1}`},
		{"an override of a limit that is not known", `{overrides: [{limit: requestsPerAddress, subject: 192.0.2.1, count: 1, period: 1h}]}`},
		{"an override of nobody", `{overrides: [{limit: ordersPerAccount, subject: "", count: 1, period: 1h}]}`},
		{"an override without a period", `{overrides: [{limit: ordersPerAccount, subject: x, count: 1}]}`},
		{"an override with a period of what is counted", `{overrides: [{limit: concurrentOrdersPerAccount, subject: x, count: 1, period: 1h}]}`},
		{"two overrides of one", `{overrides: [{limit: concurrentOrdersPerAccount, subject: x, count: 1}, {limit: concurrentOrdersPerAccount, subject: x, count: 2}]}`},
	} {
		err := create(t, "AcmeRateLimitPolicy", namespace, "wrong", test.spec)
		if err == nil {
			t.Errorf("%s is accepted", test.name)
			continue
		}
		fmt.Fprintf(&report, "# %s\n%s\n\n", test.name, err)
	}
	golden(t, "policy_refusals.txt", report.String())
}

// What servers know and what can be written in the custom resource is the same.
func TestEveryLimitCanBeWritten(t *testing.T) {
	t.Parallel()
	namespace := shared.namespace(t)
	want := acme.RateLimitPolicy{
		LimitRenewals: true, DryRun: true, PauseAfterConsecutiveFailures: 7, Limits: map[acme.LimitName]acme.Limit{},
		RequestsPerAddress: acme.Limit{Count: 20, Period: time.Second},
	}
	spec := []string{"mode: DryRun", "exemptRenewals: false", "requestsPerAddress: {count: 20, period: 1s}"}
	var overrides []string
	for name := range acme.Limits {
		rate, limit := "{count: 7, period: 90m, burst: 9}", acme.Limit{Count: 7, Period: 90 * time.Minute, Burst: 9}
		if name.Counted() {
			rate, limit = "{count: 7}", acme.Limit{Count: 7}
		}
		overrides = append(overrides, fmt.Sprintf("{limit: %s, subject: x, %s", name, rate[1:]))
		want.Overrides = append(want.Overrides, acme.LimitOverride{Limit: name, Subject: "x", Of: limit})
		if name == acme.PauseAfterConsecutiveFailures {
			spec = append(spec, string(name)+": 7")
			continue
		}
		spec = append(spec, string(name)+": "+rate)
		want.Limits[name] = limit
	}
	spec = append(spec, "overrides: ["+strings.Join(overrides, ", ")+"]")
	check(t, create(t, "AcmeRateLimitPolicy", namespace, "full", "{"+strings.Join(spec, ", ")+"}"))
	p := &v1alpha1.AcmeRateLimitPolicy{ObjectMeta: metav1.ObjectMeta{Name: "full", Namespace: namespace}}
	check(t, shared.Get(t.Context(), client.ObjectKeyFromObject(p), p))
	got, err := render.RateLimitPolicy(&p.Spec)
	check(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the policy (-want +got):\n%s", diff)
	}
	for name, text := range render.RateLimits(&got) {
		wanted := "7 per 1h30m, 9 at once"
		switch name {
		case "requestsPerAddress":
			wanted = "20 per 1s"
		case string(acme.ConcurrentOrdersPerAccount):
			wanted = "7 at once"
		case string(acme.PauseAfterConsecutiveFailures):
			wanted = "7 in a row"
		}
		if text != wanted {
			t.Errorf("%s is shown as %q; want %q", name, text, wanted)
		}
	}
}
