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
	{"accounts take turns, and those with the least in flight come first", func(t *testing.T, s Store) {
		many, few := addAccount(t, s), addAccount(t, s)
		queue := func(account acme.ID, n int, due time.Duration) {
			for range n {
				o, made := NewOrder(account, "a.test")
				add(t, s, o, made)
				startedOf(t, s, made[0], -due)
			}
		}
		claims := func(n int) map[acme.ID]int {
			t.Helper()
			claimed, err := s.ClaimValidations(t.Context(), n, lease)
			if err != nil || len(claimed) != n {
				t.Fatalf("claimed %d, error %v; want %d", len(claimed), err, n)
			}
			accounts := map[acme.ID]int{}
			for _, v := range claimed {
				accounts[v.AccountID]++
			}
			return accounts
		}
		queue(many.ID, 30, time.Hour)
		queue(few.ID, 2, time.Second)
		for i, want := range []map[acme.ID]int{
			{many.ID: 2, few.ID: 2}, // a turn each, twice
			{many.ID: 8},            // nobody else has any
			{few.ID: 1},             // after another was queued, late as it is
		} {
			if i == 2 {
				queue(few.ID, 1, time.Second)
			}
			n := 0
			for _, each := range want {
				n += each
			}
			if diff := cmp.Diff(want, claims(n)); diff != "" {
				t.Errorf("claim %d (-want +got):\n%s", i+1, diff)
			}
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
	{"a proof that is of use for longer than its order has its authorization last, unless it ends before", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test", "b.test", "c.test")
		add(t, s, o, made)
		until := now().Add(2 * time.Hour).Truncate(time.Second)
		for i, tt := range []struct {
			lasts       time.Duration
			until, want time.Time
		}{
			{8 * time.Hour, time.Time{}, made[0].CreatedAt.Add(8 * time.Hour)},
			{time.Minute, time.Time{}, made[1].ExpiresAt},
			{8 * time.Hour, until, until},
		} {
			v := startedOf(t, s, made[i], lease)
			v.Lasts, v.Until = tt.lasts, tt.until
			if _, err := s.RecordValidation(t.Context(), v, nil, nil); err != nil {
				t.Fatal(err)
			}
			if got := mustAuthorization(t, s, account.ID, made[i].ID); !got.ExpiresAt.Equal(tt.want) {
				t.Errorf("authorization %d expires at %s, want %s", i, got.ExpiresAt, tt.want)
			}
		}
		if got := mustOrder(t, s, o); got.Status != acme.OrderReady || !got.ExpiresAt.Equal(o.ExpiresAt) {
			t.Errorf("order is %s until %s; want it ready until %s", got.Status, got.ExpiresAt, o.ExpiresAt)
		}
	}},
	{"a validation has the last ten keys that the account had before, the last first", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		var had []acme.Thumbprint
		for range acme.MaxFormerKeys + 2 {
			old, err := acme.ThumbprintOf(account.Key)
			if err != nil {
				t.Fatal(err)
			}
			had = append([]acme.Thumbprint{old}, had[:min(len(had), acme.MaxFormerKeys-1)]...)
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
