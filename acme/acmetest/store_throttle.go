package acmetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

var throttleTests = []storeTest{
	{"failures in a row pause an identifier until it is unpaused, and a success begins anew", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		fail := acme.Spend{
			Limit: acme.PauseAfterConsecutiveFailures, Of: acme.Limit{Count: 2}, Recorded: true,
			Subject: acme.IdentifierSubject(a.ID, acme.Identifier{Type: acme.DNS, Value: "a.test"}),
		}
		check := fail
		check.Check, check.Recorded = true, false
		attempt := func(problem *acme.Problem) {
			o, made := NewOrder(a.ID, "a.test")
			add(t, s, o, made)
			if _, err := s.RecordValidation(t.Context(), startedOf(t, s, made[0], lease), problem, []acme.Spend{fail}); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, s.Unpause(t.Context(), fail.Subject), acme.ErrNotFound)
		for _, problem := range []*acme.Problem{unavailableHost(), nil, unavailableHost()} {
			attempt(problem)
			if _, err := order(t, s, a.ID, check); err != nil {
				t.Errorf("after at most one failure in a row: %v", err)
			}
		}
		attempt(unavailableHost())
		_, err := order(t, s, a.ID, check)
		wantLimited(t, err, acme.PauseAfterConsecutiveFailures, 0)
		for pauseAfter, want := range []int{0, 1, 1, 0} { // 0 is never, and of a row of two three is more
			throttled, err := s.Throttled(t.Context(), &acme.RateLimitPolicy{PauseAfterConsecutiveFailures: pauseAfter}, 10)
			if err != nil || len(throttled) != want || want == 1 && throttled[0].Subject != fail.Subject {
				t.Errorf("paused after %d: throttled are %v, error %v; want %d", pauseAfter, throttled, err, want)
			}
		}
		if err := s.Unpause(t.Context(), fail.Subject); err != nil {
			t.Fatal(err)
		}
		if _, err := order(t, s, a.ID, check); err != nil {
			t.Errorf("unpaused: %v", err)
		}
	}},
	{"those that have used up a limit of a policy are listed, whatever was in force when they did", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		full, half := perHour(acme.OrdersPerAccount, "full", 1), perHour(acme.OrdersPerAccount, "half", 2)
		longer := perHour(acme.CertificatesPerDomain, "longer", 1)
		longer.Of.Period = 2 * time.Hour
		response := perHour(acme.ChallengeResponsesPerChallenge, "of no use to anybody", 1)
		if _, err := order(t, s, a.ID, full, half, longer, response); err != nil {
			t.Fatal(err)
		}
		one := acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{
			acme.OrdersPerAccount: full.Of, acme.CertificatesPerDomain: longer.Of, acme.ChallengeResponsesPerChallenge: response.Of,
		}}
		one.Overrides = []acme.LimitOverride{{Limit: acme.OrdersPerAccount, Subject: "half", Of: half.Of}}
		raised, off := one, one
		raised.Overrides = append(raised.Overrides, acme.LimitOverride{Limit: acme.OrdersPerAccount, Subject: "full", Of: acme.Limit{Count: 10, Period: time.Hour, Burst: 20}})
		off.Limits = map[acme.LimitName]acme.Limit{acme.OrdersPerAccount: full.Of, acme.CertificatesPerDomain: {}}
		strict := one
		strict.Overrides = nil
		for _, tt := range []struct {
			says   string
			policy acme.RateLimitPolicy
			atMost int
			want   []string
		}{
			{"the policy of before", one, 10, []string{"longer", "full"}},
			{"at most one", one, 1, []string{"longer"}},
			{"an override with a greater burst", raised, 10, []string{"longer"}},
			{"a limit that is off", off, 10, []string{"full"}},
			{"a stricter one", strict, 10, []string{"longer", "full", "half"}},
		} {
			got, err := s.Throttled(t.Context(), &tt.policy, tt.atMost)
			var subjects []string
			for _, throttle := range got {
				subjects = append(subjects, throttle.Subject)
				if wait := time.Until(throttle.Until); throttle.Subject == "full" && (wait > time.Hour || wait < 59*time.Minute) {
					t.Errorf("full until %s; want in an hour", throttle.Until)
				}
			}
			if diff := cmp.Diff(tt.want, subjects); err != nil || diff != "" {
				t.Errorf("%s: error %v, throttled (-want +got):\n%s", tt.says, err, diff)
			}
		}
	}},
}
