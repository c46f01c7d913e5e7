package acmetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// strictPolicy is a policy with something in every field.
func strictPolicy() acme.RateLimitPolicy {
	return acme.RateLimitPolicy{
		DryRun: true, LimitRenewals: true, PauseAfterConsecutiveFailures: 5,
		Limits:             map[acme.LimitName]acme.Limit{acme.OrdersPerAccount: {Count: 100, Period: time.Hour, Burst: 10}, acme.ConcurrentOrdersPerAccount: {Count: 5}},
		Overrides:          []acme.LimitOverride{{Limit: acme.OrdersPerAccount, Subject: "x", Of: acme.Limit{Count: 1, Period: time.Minute}}},
		RequestsPerAddress: acme.Limit{Count: 20, Period: time.Second},
	}
}

var policyTests = []storeTest{
	{"a policy that was never set is the built-in one", func(t *testing.T, s Store) {
		got, err := s.RateLimitPolicy(t.Context())
		if diff := cmp.Diff(acme.RateLimitPolicy{}, got); err != nil || diff != "" {
			t.Errorf("error %v, policy (-want +got):\n%s", err, diff)
		}
	}},
	{"a policy is read back, and its generation changes with it only", func(t *testing.T, s Store) {
		begun := time.Now().Add(-time.Minute).UnixMilli() // by another clock
		first, err := s.SetRateLimitPolicy(t.Context(), strictPolicy())
		if err != nil || first < begun || first > time.Now().Add(time.Minute).UnixMilli() {
			t.Fatalf("the first generation is %d, error %v; want the time, %d", first, err, begun)
		}
		for i, p := range []acme.RateLimitPolicy{strictPolicy(), strictPolicy(), {}, strictPolicy()} {
			want := first + []int64{0, 0, 1, 2}[i]
			p.Generation = 77 // of whoever made it
			if generation, err := s.SetRateLimitPolicy(t.Context(), p); err != nil || generation != want {
				t.Fatalf("generation %d, error %v; want %d", generation, err, want)
			}
			got, err := s.RateLimitPolicy(t.Context())
			p.Generation = want
			if diff := cmp.Diff(p, got); err != nil || diff != "" {
				t.Errorf("error %v, policy (-want +got):\n%s", err, diff)
			}
		}
	}},
	{"a policy that cannot be enforced is refused", func(t *testing.T, s Store) {
		for _, p := range []acme.RateLimitPolicy{
			{Limits: map[acme.LimitName]acme.Limit{"none": {Count: 1, Period: time.Hour}}},
			{Limits: map[acme.LimitName]acme.Limit{acme.OrdersPerAccount: {Count: 1}}},
			{Limits: map[acme.LimitName]acme.Limit{acme.ConcurrentOrdersPerAccount: {Count: 1, Period: time.Hour}}},
			{Overrides: []acme.LimitOverride{{Limit: acme.OrdersPerAccount, Of: acme.Limit{}}}},
			{Overrides: []acme.LimitOverride{{Limit: "requestsPerAddress", Subject: "192.0.2.1"}}},
			{RequestsPerAddress: acme.Limit{Count: -1}},
		} {
			if _, err := s.SetRateLimitPolicy(t.Context(), p); err == nil {
				t.Errorf("%+v was taken", p)
			}
		}
	}},
	{"a replica is told of another policy than it enforces, and is listed with what it reports", func(t *testing.T, s Store) {
		sync := func(replica string, enforced int64) *acme.RateLimitPolicy {
			t.Helper()
			p, err := s.SyncRateLimitPolicy(t.Context(), replica, enforced)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		if p := sync("b", 0); p != nil {
			t.Errorf("told of %+v where none was set", p)
		}
		generation, err := s.SetRateLimitPolicy(t.Context(), strictPolicy())
		if err != nil {
			t.Fatal(err)
		}
		if p := sync("b", 0); p == nil || p.Generation != generation || !p.DryRun {
			t.Errorf("told of %+v; want the policy set", p)
		}
		if p := sync("b", generation-1); p == nil {
			t.Error("not told of it where another is enforced")
		}
		if p := sync("b", generation); p != nil {
			t.Errorf("told of %+v, which it enforces", p)
		}
		sync("a", 0)
		got, err := s.Replicas(t.Context())
		want := []acme.Replica{{Name: "a"}, {Name: "b", Generation: generation}}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(acme.Replica{}, "ReportedAt")); err != nil || diff != "" {
			t.Errorf("error %v, replicas (-want +got):\n%s", err, diff)
		}
		for range 2 { // the second time there is nothing to forget
			if err := s.ForgetReplica(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
		}
		got, err = s.Replicas(t.Context())
		if diff := cmp.Diff(want[:1], got, cmpopts.IgnoreFields(acme.Replica{}, "ReportedAt")); err != nil || diff != "" {
			t.Errorf("after one has ended: error %v, replicas (-want +got):\n%s", err, diff)
		}
	}},
}
