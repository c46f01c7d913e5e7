package acmetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
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

var leaseTests = []storeTest{
	{"a validation that is leased is nobody else's", func(t *testing.T, s Store) {
		started(t, s, "a.test")
		if claimed, err := s.ClaimValidations(t.Context(), 10, lease); err != nil || len(claimed) != 0 {
			t.Errorf("claimed %v, error %v; want nothing", claimed, err)
		}
	}},
	{"a lease that has run out is taken over, and the old holder's result is refused", func(t *testing.T, s Store) {
		o, made := NewOrder(addAccount(t, s).ID, "a.test")
		add(t, s, o, made)
		old := startedOf(t, s, made[0], ranOut)
		taken := claimOne(t, s)
		want := *old
		want.Attempt = 2
		if diff := cmp.Diff(&want, taken, cmpopts.IgnoreFields(acme.Validation{}, "Lease")); diff != "" || taken.Lease == old.Lease {
			t.Errorf("validation (-want +got):\n%s", diff)
		}
		_, err := s.RecordValidation(t.Context(), old, unavailableHost(), nil)
		wantState(t, err, "authorization", "leased to another")
		wantState(t, s.RetryValidation(t.Context(), old, unavailableHost(), 0), "authorization", "leased to another")
		if _, err := s.RecordValidation(t.Context(), taken, nil, nil); err != nil {
			t.Fatal(err)
		}
		_, err = s.RecordValidation(t.Context(), taken, nil, nil)
		wantState(t, err, "authorization", "valid")
	}},
	{"a lease that has run out and that nobody took over still takes the result", func(t *testing.T, s Store) {
		o, made := NewOrder(addAccount(t, s).ID, "a.test")
		add(t, s, o, made)
		if _, err := s.RecordValidation(t.Context(), startedOf(t, s, made[0], ranOut), nil, nil); err != nil {
			t.Error(err)
		}
		if claimed, err := s.ClaimValidations(t.Context(), 10, lease); err != nil || len(claimed) != 0 {
			t.Errorf("claimed %v, error %v; want nothing", claimed, err)
		}
	}},
	{"a validation that was given back is due again after its time, and shows its problem", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		if err := s.RetryValidation(t.Context(), v, unavailableHost(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if claimed, err := s.ClaimValidations(t.Context(), 10, lease); err != nil || len(claimed) != 0 {
			t.Errorf("claimed %v, error %v; want nothing for an hour", claimed, err)
		}
		c := mustAuthorization(t, s, v.AccountID, v.AuthorizationID).Challenge(v.Type)
		if c.Status != acme.ChallengeProcessing || c.Error == nil || c.Error.Type != acme.Connection {
			t.Errorf("challenge %+v; want it processing, with a problem", c)
		}
		_, err := s.RecordValidation(t.Context(), v, nil, nil)
		wantState(t, err, "authorization", "leased to another")
	}},
	{"a problem of an attempt is gone once there is a proof", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		if err := s.RetryValidation(t.Context(), v, unavailableHost(), ranOut); err != nil {
			t.Fatal(err)
		}
		c, err := s.RecordValidation(t.Context(), claimOne(t, s), nil, nil)
		if err != nil || c.Error != nil {
			t.Errorf("challenge %+v, error %v; want no problem", c, err)
		}
	}},
	{"a validation that was given back unattempted is due at once, not counted, and keeps its problem", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		if err := s.RetryValidation(t.Context(), v, unavailableHost(), ranOut); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			v = claimOne(t, s)
			if v.Attempt != 2 {
				t.Errorf("attempt %d; want 2", v.Attempt)
			}
			if err := s.RetryValidation(t.Context(), v, nil, ranOut); err != nil {
				t.Fatal(err)
			}
		}
		if c := mustAuthorization(t, s, v.AccountID, v.AuthorizationID).Challenge(v.Type); c.Error == nil {
			t.Error("the problem is gone")
		}
	}},
	{"no more validations are claimed than asked for, those due for longest first", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		var want []acme.ID
		for i := range 5 {
			o, made := NewOrder(account.ID, "a.test")
			add(t, s, o, made)
			startedOf(t, s, made[0], -time.Duration(i+1)*time.Minute)
			want = slices.Insert(want, 0, made[0].ID)
		}
		var got []acme.ID
		for _, n := range []int{2, 10} {
			claimed, err := s.ClaimValidations(t.Context(), n, lease)
			if err != nil || len(claimed) > n {
				t.Fatalf("claimed %d of %d, error %v", len(claimed), n, err)
			}
			for _, v := range claimed {
				got = append(got, v.AuthorizationID)
			}
		}
		slices.SortFunc(got[:2], func(a, b acme.ID) int { return slices.Compare(b[:], a[:]) }) // a claim has no order
		slices.SortFunc(got[2:], func(a, b acme.ID) int { return slices.Compare(b[:], a[:]) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("claimed (-want +got):\n%s", diff)
		}
	}},
	{"of 10 that claim 40 validations at once, none gets another's, and all are claimed", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		for range 40 {
			o, made := NewOrder(account.ID, "a.test")
			add(t, s, o, made)
			startedOf(t, s, made[0], ranOut)
		}
		var mu sync.Mutex
		holders := map[acme.ID]int{}
		atOnce(10, func(int) {
			for {
				claimed, err := s.ClaimValidations(t.Context(), 3, lease)
				if err != nil {
					t.Error(err)
				}
				if len(claimed) == 0 {
					return
				}
				mu.Lock()
				for _, v := range claimed {
					holders[v.AuthorizationID]++
				}
				mu.Unlock()
			}
		})
		for id, n := range holders {
			if n != 1 {
				t.Errorf("authorization %s was claimed %d times", id, n)
			}
		}
		if len(holders) != 40 {
			t.Errorf("claimed %d; want 40", len(holders))
		}
	}},
	{"a proof that ends early has its authorization and the order end with it", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test", "b.test")
		add(t, s, o, made)
		until := now().Add(20 * time.Minute).Truncate(time.Second)
		for i, end := range []time.Time{until, o.ExpiresAt.Add(time.Hour)} {
			v := startedOf(t, s, made[i], lease)
			v.Until = end
			if _, err := s.RecordValidation(t.Context(), v, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []time.Time{until, made[1].ExpiresAt} {
			if got := mustAuthorization(t, s, account.ID, made[i].ID); !got.ExpiresAt.Equal(want) {
				t.Errorf("authorization %d expires at %s, want %s", i, got.ExpiresAt, want)
			}
		}
		if got := mustOrder(t, s, o); got.Status != acme.OrderReady || !got.ExpiresAt.Equal(until) {
			t.Errorf("order is %s until %s; want it ready until %s", got.Status, got.ExpiresAt, until)
		}
	}},
	{"a validation has the keys that the account had before, the last first", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		var had []acme.Thumbprint
		for range 2 {
			old, err := acme.ThumbprintOf(account.Key)
			if err != nil {
				t.Fatal(err)
			}
			had = append([]acme.Thumbprint{old}, had...)
			if account, err = s.ChangeKey(t.Context(), account.ID, old, &jose.JSONWebKey{Key: NewKey(t).Public()}, nil); err != nil {
				t.Fatal(err)
			}
		}
		o, made := NewOrder(account.ID, "a.test")
		add(t, s, o, made)
		v := startedOf(t, s, made[0], ranOut)
		for _, got := range []*acme.Validation{v, claimOne(t, s)} {
			if diff := cmp.Diff(had, got.FormerKeys); diff != "" {
				t.Errorf("keys (-had +got):\n%s", diff)
			}
		}
	}},
	{"a result for no authorization, or without a lease, is refused", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		unknown := *v
		unknown.AuthorizationID = acme.NewID()
		_, err := s.RecordValidation(t.Context(), &unknown, nil, nil)
		wantError(t, err, acme.ErrNotFound)
		wantError(t, s.RetryValidation(t.Context(), &unknown, nil, 0), acme.ErrNotFound)
		if err := s.RetryValidation(t.Context(), v, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
		v.Lease = acme.ID{}
		_, err = s.RecordValidation(t.Context(), v, nil, nil)
		wantState(t, err, "authorization", "leased to another")
	}},
}

// claimOne claims the one validation that is due.
func claimOne(t testing.TB, s Store) *acme.Validation {
	t.Helper()
	claimed, err := s.ClaimValidations(t.Context(), 10, lease)
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %v, error %v; want one validation", claimed, err)
	}
	return claimed[0]
}
