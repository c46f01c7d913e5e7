package acmetest

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// perHour is a spend of a limit that gives nothing back while a test runs.
func perHour(name acme.LimitName, subject string, count int) acme.Spend {
	return acme.Spend{Limit: name, Subject: subject, Of: acme.Limit{Count: count, Period: time.Hour}}
}

// atOnceOf is a spend of the limit on unfinished orders.
func atOnceOf(account acme.ID, count int) acme.Spend {
	return acme.Spend{Limit: acme.ConcurrentOrdersPerAccount, Subject: account.String(), Of: acme.Limit{Count: count}}
}

// order makes an order for a name, and returns what it was answered.
func order(t testing.TB, s Store, account acme.ID, spends ...acme.Spend) ([]acme.Quota, error) {
	t.Helper()
	o, made := NewOrder(account, "a.test")
	return s.CreateOrder(t.Context(), By(o.AccountID), o, made, spends)
}

// wantLimited checks that a spend was refused, and that the wait is at most the
// one given, and not much less.
func wantLimited(t testing.TB, err error, name acme.LimitName, wait time.Duration) {
	t.Helper()
	var limit *acme.LimitError
	if !errors.As(err, &limit) || limit.Limit != name {
		t.Errorf("error %v; want one of the limit %s", err, name)
	} else if limit.RetryAfter > wait || limit.RetryAfter < wait-time.Minute {
		t.Errorf("retry after %s; want %s", limit.RetryAfter, wait)
	}
}

// crowd calls f n times, all but at once, and counts what was taken and what was
// refused by a limit.
func crowd(t testing.TB, n int, f func() error) (taken, refused int) {
	t.Helper()
	var mu sync.Mutex
	atOnce(n, func(int) {
		err := f()
		var limit *acme.LimitError
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			taken++
		case errors.As(err, &limit):
			refused++
		default:
			t.Error(err)
		}
	})
	return taken, refused
}

// wantLeft checks how many may still be taken of a limit that is not spent for more.
func wantLeft(t testing.TB, s Store, account acme.ID, sp acme.Spend, want int) {
	t.Helper()
	sp.DryRun, sp.Check = true, true
	quotas, err := order(t, s, account, sp)
	if err != nil || len(quotas) != 1 || quotas[0].Remaining != want {
		t.Errorf("left %+v, error %v; want %d", quotas, err, want)
	}
}

var limitTests = []storeTest{
	{"of 1,000 orders at once exactly the limit's are made, and the rest is told when to come back", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		limit := perHour(acme.OrdersPerAccount, a.ID.String(), 100)
		taken, refused := crowd(t, 1000, func() error {
			_, err := order(t, s, a.ID, limit)
			if err != nil {
				wantLimited(t, err, acme.OrdersPerAccount, 36*time.Second)
			}
			return err
		})
		if taken != 100 || refused != 900 {
			t.Errorf("took %d, refused %d; want 100 and 900", taken, refused)
		}
		if ids, err := s.UnfinishedOrders(t.Context(), a.ID, acme.ID{}, 2000); err != nil || len(ids) != 100 {
			t.Errorf("%d orders, error %v; want 100", len(ids), err)
		}
	}},
	{"of 50 orders at once exactly as many are made as may be unfinished, and more as they end", func(t *testing.T, s Store) {
		a, issuer := addAccount(t, s), NewIssuer(t, s)
		ready, made := NewReadyOrder(a.ID, "a.test")
		add(t, s, ready, made)
		limit := atOnceOf(a.ID, 8)
		taken, refused := crowd(t, 50, func() error {
			_, err := order(t, s, a.ID, limit)
			return err
		})
		if taken != 7 || refused != 43 {
			t.Errorf("took %d, refused %d; want 7 beside the one there was, and 43", taken, refused)
		}
		if _, err := finalize(t, s, ready, issuer); err != nil {
			t.Fatal(err)
		}
		if taken, _ := crowd(t, 5, func() error {
			_, err := order(t, s, a.ID, limit)
			return err
		}); taken != 1 {
			t.Errorf("took %d after one has ended; want 1", taken)
		}
	}},
	{"an unfinished order that has expired is none of those at once", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		old, made := NewOrder(a.ID, "a.test")
		old.ExpiresAt = now().Add(-time.Second)
		add(t, s, old, made)
		if _, err := order(t, s, a.ID, atOnceOf(a.ID, 1)); err != nil {
			t.Error(err)
		}
		_, err := order(t, s, a.ID, atOnceOf(a.ID, 1))
		wantLimited(t, err, acme.ConcurrentOrdersPerAccount, 0)
	}},
	{"of two limits both are spent or none", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		wide, narrow := perHour(acme.CertificatesPerDomain, "a.test", 100), perHour(acme.OrdersPerAccount, a.ID.String(), 10)
		taken, _ := crowd(t, 40, func() error {
			_, err := order(t, s, a.ID, narrow, wide)
			return err
		})
		if taken != 10 {
			t.Errorf("took %d; want 10", taken)
		}
		wantLeft(t, s, a.ID, wide, 90)
	}},
	{"those that spend of the same limits in any order do not stop each other", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		spends := []acme.Spend{
			perHour(acme.CertificatesPerDomain, "a.test", 1000), perHour(acme.CertificatesPerDomain, "b.test", 1000),
			perHour(acme.OrdersPerAccount, a.ID.String(), 1000), atOnceOf(a.ID, 1000),
		}
		atOnce(40, func(i int) {
			mine := slices.Clone(spends)
			if i%2 == 0 {
				slices.Reverse(mine)
			}
			if _, err := order(t, s, a.ID, mine...); err != nil {
				t.Error(err)
			}
		})
		wantLeft(t, s, a.ID, spends[1], 960)
	}},
	{"an order that is not made spends nothing", func(t *testing.T, s Store) {
		a, gone := addAccount(t, s), addAccount(t, s)
		limit := perHour(acme.OrdersPerAccount, "whoever", 5)
		if _, err := s.DeactivateAccount(t.Context(), gone.ID); err != nil {
			t.Fatal(err)
		}
		_, err := order(t, s, gone.ID, limit)
		wantState(t, err, "account", "deactivated")
		_, err = order(t, s, acme.NewID(), limit)
		wantError(t, err, acme.ErrNotFound)
		o, _ := NewOrder(a.ID, "a.test")
		_, err = s.CreateOrder(t.Context(), By(o.AccountID), o, nil, []acme.Spend{limit})
		wantState(t, err, "authorization", "not valid")
		wantLeft(t, s, a.ID, limit, 5)
	}},
	{"quotas tell what is left, and when all is", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		spends := []acme.Spend{perHour(acme.OrdersPerAccount, a.ID.String(), 6), atOnceOf(a.ID, 3)}
		for i := range 2 {
			quotas, err := order(t, s, a.ID, spends...)
			if err != nil {
				t.Fatal(err)
			}
			for j := range quotas { // to the minute
				quotas[j].Reset = quotas[j].Reset.Round(time.Minute)
			}
			want := []acme.Quota{
				{Limit: acme.ConcurrentOrdersPerAccount, Of: spends[1].Of, Remaining: 2 - i},
				{Limit: acme.OrdersPerAccount, Of: spends[0].Of, Remaining: 5 - i, Reset: time.Duration(i+1) * 10 * time.Minute},
			}
			if diff := cmp.Diff(want, quotas); diff != "" {
				t.Errorf("quotas (-want +got):\n%s", diff)
			}
		}
	}},
	{"a dry run counts and refuses nothing", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		limit, orders := perHour(acme.OrdersPerAccount, a.ID.String(), 2), atOnceOf(a.ID, 2)
		limit.DryRun, orders.DryRun = true, true
		for i := range 4 {
			quotas, err := order(t, s, a.ID, limit, orders)
			if err != nil || len(quotas) != 2 || quotas[0].Exceeded != (i >= 2) || quotas[1].Exceeded != (i >= 2) {
				t.Errorf("order %d: quotas %+v, error %v; want it made, and that the third would not be", i+1, quotas, err)
			}
		}
		limit.DryRun = false
		_, err := order(t, s, a.ID, limit)
		wantLimited(t, err, acme.OrdersPerAccount, 30*time.Minute)
	}},
	{"a burst is taken at once and a unit comes back with time", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		limit := acme.Spend{Limit: acme.OrdersPerAccount, Subject: "x", Of: acme.Limit{Count: 60, Period: time.Hour, Burst: 3}}
		for range 3 {
			if _, err := order(t, s, a.ID, limit); err != nil {
				t.Fatal(err)
			}
		}
		_, err := order(t, s, a.ID, limit)
		wantLimited(t, err, acme.OrdersPerAccount, time.Minute)
		limit.Of = acme.Limit{Count: 1_000_000, Period: time.Second} // another policy: what was spent is as good as over
		limit.Of.Burst = 200_000_000
		if _, err := order(t, s, a.ID, limit); err != nil {
			t.Errorf("after a change of the policy: %v", err)
		}
	}},
	{"an account is spent for when it is made, and not when it is found", func(t *testing.T, s Store) {
		limit := perHour(acme.AccountsPerAddress, "192.0.2.1", 2)
		first := NewAccount(t)
		for i := range 5 {
			a := *first
			a.ID = acme.NewID()
			_, created, quotas, err := s.CreateAccount(t.Context(), &a, []acme.Spend{limit})
			if err != nil || created != (i == 0) || (len(quotas) == 1) != created {
				t.Fatalf("created %t, quotas %v, error %v", created, quotas, err)
			}
		}
		taken, refused := crowd(t, 20, func() error {
			_, _, _, err := s.CreateAccount(t.Context(), NewAccount(t), []acme.Spend{limit})
			return err
		})
		if taken != 1 || refused != 19 {
			t.Errorf("made %d, refused %d; want 1 and 19", taken, refused)
		}
	}},
	{"of 20 that create an account with one key at once, one pays", func(t *testing.T, s Store) {
		limit, a := perHour(acme.AccountsPerAddress, "192.0.2.1", 50), NewAccount(t)
		atOnce(20, func(int) {
			mine := *a
			mine.ID = acme.NewID()
			if got, _, _, err := s.CreateAccount(t.Context(), &mine, []acme.Spend{limit}); err != nil || got == nil {
				t.Error(err)
			}
		})
		wantLeft(t, s, addAccount(t, s).ID, limit, 49)
	}},
	{"a pre-authorization is spent for where it is made, and refused where that is", func(t *testing.T, s Store) {
		a, gone := addAccount(t, s), addAccount(t, s)
		limit := perHour(acme.OrdersPerAccount, "x", 5)
		authorize := func(account acme.ID) (acme.ID, error) {
			_, made := NewOrder(account, "a.test")
			_, err := s.CreateAuthorization(t.Context(), made[0], []acme.Spend{limit})
			return made[0].ID, err
		}
		if _, err := s.DeactivateAccount(t.Context(), gone.ID); err != nil {
			t.Fatal(err)
		}
		_, err := authorize(gone.ID)
		wantState(t, err, "account", "deactivated")
		taken, refused := crowd(t, 20, func() error {
			_, err := authorize(a.ID)
			return err
		})
		if taken != 5 || refused != 15 {
			t.Errorf("made %d, refused %d; want 5 and 15", taken, refused)
		}
		id, err := authorize(a.ID)
		wantLimited(t, err, acme.OrdersPerAccount, 12*time.Minute)
		_, err = s.Authorization(t.Context(), By(a.ID), id)
		wantError(t, err, acme.ErrNotFound)
	}},
	{"a change of key is spent for where it is made", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		limit := perHour(acme.KeyChangesPerAccount, a.ID.String(), 2)
		_, err := s.ChangeKey(t.Context(), a.ID, mustThumbprint(t, a), other.Key, []acme.Spend{limit})
		wantError(t, err, acme.ErrKeyInUse)
		_, err = s.ChangeKey(t.Context(), a.ID, acme.Thumbprint{1}, NewAccount(t).Key, []acme.Spend{limit})
		wantState(t, err, "account", "valid")
		for range 2 {
			next := NewAccount(t).Key
			if a, err = s.ChangeKey(t.Context(), a.ID, mustThumbprint(t, a), next, []acme.Spend{limit}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = s.ChangeKey(t.Context(), a.ID, mustThumbprint(t, a), NewAccount(t).Key, []acme.Spend{limit})
		wantLimited(t, err, acme.KeyChangesPerAccount, 30*time.Minute)
		if _, err := s.AccountByKey(t.Context(), mustThumbprint(t, a)); err != nil {
			t.Errorf("the key before the change that was refused: %v", err)
		}
	}},
	{"every response to a pending challenge is spent for", func(t *testing.T, s Store) {
		o, made := NewOrder(addAccount(t, s).ID, "a.test")
		add(t, s, o, made)
		limit := []acme.Spend{perHour(acme.ChallengeResponsesPerChallenge, "x", 2)}
		start := func(authorization acme.ID, c acme.ChallengeType) error {
			_, _, err := s.StartValidation(t.Context(), By(o.AccountID), authorization, c, lease, limit)
			return err
		}
		wantError(t, start(acme.NewID(), acme.DNS01), acme.ErrNotFound)
		wantError(t, start(made[0].ID, "none"), acme.ErrNotFound)
		for range 2 {
			if err := start(made[0].ID, acme.DNS01); err != nil {
				t.Fatal(err)
			}
		}
		wantLimited(t, start(made[0].ID, acme.DNS01), acme.ChallengeResponsesPerChallenge, 30*time.Minute)
	}},
	{"a failure is spent for when it is recorded, and asked for when an order is made", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		subject := acme.IdentifierSubject(v.AccountID, v.Identifier)
		limit := perHour(acme.FailedValidationsPerIdentifier, subject, 1)
		check, fail := limit, limit
		check.Check, fail.Recorded = true, true
		if _, err := order(t, s, v.AccountID, check); err != nil {
			t.Errorf("before the failure: %v", err)
		}
		stale := *v
		stale.Lease = acme.NewID()
		_, err := s.RecordValidation(t.Context(), &stale, unavailableHost(), []acme.Spend{fail})
		wantState(t, err, "authorization", "leased to another")
		if _, err := order(t, s, v.AccountID, check); err != nil {
			t.Errorf("after a failure of another's lease: %v", err)
		}
		for range 2 { // the second is over the limit, and recorded all the same
			if _, err := s.RecordValidation(t.Context(), v, unavailableHost(), []acme.Spend{fail}); err != nil {
				t.Fatal(err)
			}
			_, err := order(t, s, v.AccountID, check)
			wantLimited(t, err, acme.FailedValidationsPerIdentifier, time.Hour)
			o, made := NewOrder(v.AccountID, "a.test")
			add(t, s, o, made)
			v = startedOf(t, s, made[0], lease)
		}
	}},
}

// mustThumbprint returns the thumbprint of an account's key.
func mustThumbprint(t testing.TB, a *acme.Account) acme.Thumbprint {
	t.Helper()
	thumbprint, err := acme.ThumbprintOf(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	return thumbprint
}
