package acmetest

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/acme-ca/acme-ca-operator/acme"
)

var validationTests = []storeTest{
	{"a validation has all that is needed to do it", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "*.a.test")
		add(t, s, o, made)
		a, v, err := s.StartValidation(t.Context(), By(account.ID), made[0].ID, acme.DNS01, lease, nil)
		if err != nil {
			t.Fatal(err)
		}
		thumbprint, err := acme.ThumbprintOf(account.Key)
		if err != nil {
			t.Fatal(err)
		}
		want := &acme.Validation{
			AuthorizationID: made[0].ID, AccountID: account.ID, Thumbprint: thumbprint, Wildcard: true,
			Identifier: acme.Identifier{Type: acme.DNS, Value: "a.test"}, Type: acme.DNS01, Token: made[0].Token, Attempt: 1,
		}
		if diff := cmp.Diff(want, v, cmpopts.IgnoreFields(acme.Validation{}, "Lease")); diff != "" || v.Lease.IsZero() {
			t.Errorf("validation with lease %s (-want +got):\n%s", v.Lease, diff)
		}
		if c := a.Challenge(acme.DNS01); c.Status != acme.ChallengeProcessing {
			t.Errorf("challenge is %s; want it processing", c.Status)
		}
	}},
	{"an order that waits for nothing but validations says so", func(t *testing.T, s Store) {
		o, made := NewOrder(addAccount(t, s).ID, "a.test", "b.test", "c.test")
		add(t, s, o, made)
		is := func(want bool, when string) {
			t.Helper()
			if got := mustOrder(t, s, o); got.Validating != want {
				t.Errorf("%s: validating is %t; want %t", when, got.Validating, want)
			}
		}
		is(false, "before any")
		first, second := startedOf(t, s, made[0], lease), startedOf(t, s, made[1], lease)
		is(false, "when one is not begun")
		third := startedOf(t, s, made[2], lease)
		is(true, "when all are begun")
		record := func(v *acme.Validation, problem *acme.Problem) {
			t.Helper()
			if _, err := s.RecordValidation(t.Context(), v, problem, nil); err != nil {
				t.Fatal(err)
			}
		}
		record(first, nil)
		is(true, "when one is met")
		if err := s.RetryValidation(t.Context(), second, unavailableHost(), lease); err != nil {
			t.Fatal(err)
		}
		is(true, "when one is tried again")
		record(third, unavailableHost())
		is(false, "when one has failed")
		other, made := NewOrder(o.AccountID, "d.test")
		add(t, s, other, made)
		record(startedOf(t, s, made[0], lease), nil)
		if o = other; mustOrder(t, s, o).Status != acme.OrderReady {
			t.Fatal("the order is not ready")
		}
		is(false, "when all are met")
	}},
	{"a challenge that is processing is returned as it is, without a validation", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		a, again, err := s.StartValidation(t.Context(), By(v.AccountID), v.AuthorizationID, v.Type, lease, nil)
		if err != nil || again != nil || a.Challenge(v.Type).Status != acme.ChallengeProcessing {
			t.Errorf("authorization %v, validation %v, error %v; want a processing challenge and no validation", a, again, err)
		}
	}},
	{"of 20 that start a validation at once, one does", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test")
		add(t, s, o, made)
		var mu sync.Mutex
		validations := 0
		atOnce(20, func(int) {
			_, v, err := s.StartValidation(t.Context(), By(account.ID), made[0].ID, acme.DNS01, lease, nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			} else if v != nil {
				validations++
			}
		})
		if validations != 1 {
			t.Errorf("%d validations; want one", validations)
		}
	}},
	{"a second challenge of an authorization is refused", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		_, _, err := s.StartValidation(t.Context(), By(v.AccountID), v.AuthorizationID, acme.HTTP01, lease, nil)
		wantState(t, err, "authorization", "pending")
	}},
	{"a challenge that is not there is not found", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "*.a.test")
		add(t, s, o, made)
		for _, ask := range []struct {
			account, authorization acme.ID
			challenge              acme.ChallengeType
		}{
			{addAccount(t, s).ID, made[0].ID, acme.DNS01},
			{account.ID, acme.NewID(), acme.DNS01},
			{account.ID, made[0].ID, acme.HTTP01}, // a wildcard's only by DNS
			{account.ID, made[0].ID, "dns-02"},
		} {
			_, _, err := s.StartValidation(t.Context(), By(ask.account), ask.authorization, ask.challenge, lease, nil)
			wantError(t, err, acme.ErrNotFound)
		}
	}},
	{"a challenge of an authorization that has expired is refused", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test")
		made[0].ExpiresAt = now().Add(-time.Second)
		add(t, s, o, made)
		_, _, err := s.StartValidation(t.Context(), By(account.ID), made[0].ID, acme.DNS01, lease, nil)
		wantState(t, err, "authorization", "expired")
	}},
	{"a challenge of an authorization that is valid without any is refused", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewReadyOrder(account.ID, "a.test")
		add(t, s, o, made)
		_, _, err := s.StartValidation(t.Context(), By(account.ID), made[0].ID, acme.DNS01, lease, nil)
		wantState(t, err, "authorization", "valid")
	}},
	{"a proof makes the challenge and the authorization valid, and the last one the order ready", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test", "b.test")
		add(t, s, o, made)
		for i, want := range []acme.OrderStatus{acme.OrderPending, acme.OrderReady} {
			v := startedOf(t, s, made[i], lease)
			c, err := s.RecordValidation(t.Context(), v, nil, nil)
			if err != nil || c.Type != v.Type || c.Status != acme.ChallengeValid || c.ValidatedAt.IsZero() || c.Error != nil {
				t.Fatalf("challenge %+v, error %v; want it valid", c, err)
			}
			a := mustAuthorization(t, s, account.ID, made[i].ID)
			if a.Status != acme.AuthorizationValid || a.Challenge(acme.HTTP01).Status != acme.ChallengePending {
				t.Errorf("authorization %+v; want it valid, its other challenges pending", a)
			}
			if diff := cmp.Diff(&c, a.Challenge(v.Type)); diff != "" {
				t.Errorf("challenge (-recorded +read):\n%s", diff)
			}
			if got := mustOrder(t, s, o); got.Status != want {
				t.Errorf("order is %s after %d of 2; want it %s", got.Status, i+1, want)
			}
		}
	}},
	{"the last two proofs of an order at once make it ready", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		for range 20 {
			o, made := NewOrder(account.ID, "a.test", "b.test")
			add(t, s, o, made)
			validations := []*acme.Validation{startedOf(t, s, made[0], lease), startedOf(t, s, made[1], lease)}
			atOnce(2, func(i int) {
				if _, err := s.RecordValidation(t.Context(), validations[i], nil, nil); err != nil {
					t.Error(err)
				}
			})
			if got := mustOrder(t, s, o); got.Status != acme.OrderReady {
				t.Fatalf("order is %s; want it ready", got.Status)
			}
		}
	}},
	{"a failure makes the challenge, the authorization and the order invalid, and each tells why", func(t *testing.T, s Store) {
		v := started(t, s, "a.test", "b.test")
		problem := unavailableHost()
		problem.Subproblems = []*acme.Problem{{Type: acme.DNSProblem, Detail: "\x00", Identifier: &v.Identifier}}
		c, err := s.RecordValidation(t.Context(), v, problem, nil)
		if err != nil || c.Status != acme.ChallengeInvalid || !c.ValidatedAt.IsZero() {
			t.Fatalf("challenge %+v, error %v; want it invalid", c, err)
		}
		a := mustAuthorization(t, s, v.AccountID, v.AuthorizationID)
		o, err := s.Order(t.Context(), By(v.AccountID), a.OrderID)
		if err != nil || a.Status != acme.AuthorizationInvalid || o.Status != acme.OrderInvalid {
			t.Fatalf("authorization is %s, order %v, error %v; want both invalid", a.Status, o, err)
		}
		for _, got := range []*acme.Problem{c.Error, a.Challenge(v.Type).Error, o.Error} {
			if diff := cmp.Diff(problem, got, cmpopts.IgnoreFields(acme.Problem{}, "Status")); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		}
		_, again, err := s.StartValidation(t.Context(), By(v.AccountID), v.AuthorizationID, v.Type, lease, nil)
		if err != nil || again != nil {
			t.Errorf("validation %v, error %v; want the challenge as it is", again, err)
		}
	}},
	{"a proof for an order that is invalid already leaves it so", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test", "b.test")
		add(t, s, o, made)
		first, second := startedOf(t, s, made[0], lease), startedOf(t, s, made[1], lease)
		if _, err := s.RecordValidation(t.Context(), first, unavailableHost(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RecordValidation(t.Context(), second, nil, nil); err != nil {
			t.Fatal(err)
		}
		if got := mustOrder(t, s, o); got.Status != acme.OrderInvalid {
			t.Errorf("order is %s; want it invalid", got.Status)
		}
	}},
}
