package acmetest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// proves is an [acme.ProveFunc] that proves whatever it is asked.
func proves(context.Context, *acme.Validation) bool { return true }

// refuses is an [acme.ProveFunc] that proves nothing.
func refuses(context.Context, *acme.Validation) bool { return false }

// proveTests are of [Store.Prove].
var proveTests = []storeTest{
	{"a challenge that is proved at once is valid, and the last one makes the order ready", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test", "b.test")
		add(t, s, o, made)
		for i, want := range []acme.OrderStatus{acme.OrderPending, acme.OrderReady} {
			a, err := s.Prove(t.Context(), prove(t, s, account), made[i].ID, acme.DNS01, proves)
			if err != nil || a == nil {
				t.Fatalf("authorization %v, error %v", a, err)
			}
			c := a.Challenge(acme.DNS01)
			if a.Status != acme.AuthorizationValid || c.Status != acme.ChallengeValid || c.ValidatedAt.IsZero() || c.Error != nil {
				t.Errorf("authorization %+v; want it valid by dns-01", a)
			}
			if diff := cmp.Diff(mustAuthorization(t, s, account.ID, made[i].ID), a); diff != "" {
				t.Errorf("authorization (-read +returned):\n%s", diff)
			}
			if got := mustOrder(t, s, o); got.Status != want {
				t.Errorf("order is %s after %d of 2; want it %s", got.Status, i+1, want)
			}
		}
	}},
	{"a first attempt is given all that is needed for it", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "*.a.test")
		add(t, s, o, made)
		by := prove(t, s, account)
		var got *acme.Validation
		_, err := s.Prove(t.Context(), by, made[0].ID, acme.DNS01, func(_ context.Context, v *acme.Validation) bool {
			got = v
			return false
		})
		want := &acme.Validation{
			AuthorizationID: made[0].ID, AccountID: account.ID, Thumbprint: by.Key, Wildcard: true,
			Identifier: acme.Identifier{Type: acme.DNS, Value: "a.test"}, Type: acme.DNS01, Token: made[0].Token, Attempt: 1,
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("error %v, validation (-want +got):\n%s", err, diff)
		}
	}},
	{"what was not proved at once is as it was, and starts as any other", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test")
		add(t, s, o, made)
		by := prove(t, s, account)
		before := mustAuthorization(t, s, account.ID, made[0].ID)
		if a, err := s.Prove(t.Context(), by, made[0].ID, acme.DNS01, refuses); a != nil || err != nil || by.Redeemed {
			t.Errorf("authorization %v, error %v, nonce taken: %t; want nothing done", a, err, by.Redeemed)
		}
		if diff := cmp.Diff(before, mustAuthorization(t, s, account.ID, made[0].ID)); diff != "" {
			t.Errorf("authorization (-before +after):\n%s", diff)
		}
		if _, v, err := s.StartValidation(t.Context(), by, made[0].ID, acme.DNS01, lease, nil); v == nil || err != nil {
			t.Errorf("validation %v, error %v; want it started", v, err)
		}
	}},
	{"of 20 that respond to a challenge at once, one attempts it before it is stored", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		o, made := NewOrder(account.ID, "a.test")
		add(t, s, o, made)
		var attempts, proofs atomic.Int64
		var proof [20]*acme.Proof
		for i := range proof {
			proof[i] = prove(t, s, account)
		}
		atOnce(len(proof), func(i int) {
			a, err := s.Prove(t.Context(), proof[i], made[0].ID, acme.DNS01, func(context.Context, *acme.Validation) bool {
				attempts.Add(1)
				return true
			})
			if err != nil {
				t.Error(err)
			}
			if a != nil {
				proofs.Add(1)
			}
		})
		if attempts.Load() != 1 || proofs.Load() != 1 {
			t.Errorf("%d attempts, %d proofs; want one", attempts.Load(), proofs.Load())
		}
	}},
	{"the last two proofs of an order at once make it ready, unstored as they are", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		for range 20 {
			o, made := NewOrder(account.ID, "a.test", "b.test")
			add(t, s, o, made)
			proof := []*acme.Proof{prove(t, s, account), prove(t, s, account)}
			atOnce(2, func(i int) {
				if a, err := s.Prove(t.Context(), proof[i], made[i].ID, acme.HTTP01, proves); a == nil || err != nil {
					t.Errorf("authorization %v, error %v", a, err)
				}
			})
			if got := mustOrder(t, s, o); got.Status != acme.OrderReady {
				t.Fatalf("order is %s; want it ready", got.Status)
			}
		}
	}},
	{"a proof of what became another meanwhile is not recorded", func(t *testing.T, s Store) {
		for name, meanwhile := range map[string]func(account acme.ID, a *acme.Authorization) error{
			"started": func(account acme.ID, a *acme.Authorization) error {
				_, _, err := s.StartValidation(t.Context(), By(account), a.ID, acme.HTTP01, lease, nil)
				return err
			},
			"deactivated": func(account acme.ID, a *acme.Authorization) error {
				_, err := s.DeactivateAuthorization(t.Context(), account, a.ID)
				return err
			},
		} {
			account := addAccount(t, s)
			o, made := NewOrder(account.ID, "a.test")
			add(t, s, o, made)
			by := prove(t, s, account)
			a, err := s.Prove(t.Context(), by, made[0].ID, acme.DNS01, func(context.Context, *acme.Validation) bool {
				if err := meanwhile(account.ID, made[0]); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				return true
			})
			if a != nil || err != nil || !by.Redeemed {
				t.Errorf("%s: authorization %v, error %v, nonce taken: %t; want only that", name, a, err, by.Redeemed)
			}
			if got := mustAuthorization(t, s, account.ID, made[0].ID); got.Status == acme.AuthorizationValid {
				t.Errorf("%s: the authorization is valid", name)
			}
		}
	}},
	{"a deactivation and a proof at once leave one of them", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		for range 20 {
			o, made := NewOrder(account.ID, "a.test")
			add(t, s, o, made)
			by := prove(t, s, account)
			atOnce(2, func(i int) {
				var err error
				if i == 0 {
					_, err = s.Prove(t.Context(), by, made[0].ID, acme.DNS01, proves)
				} else {
					_, err = s.DeactivateAuthorization(t.Context(), account.ID, made[0].ID)
				}
				if err != nil {
					t.Error(err)
				}
			})
			if got := mustOrder(t, s, o); got.Status != acme.OrderInvalid {
				t.Errorf("order is %s; want it invalid", got.Status)
			}
		}
	}},
	{"what may not be attempted is not: another's, not offered, expired, valid or started before", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		of := func(change func(*acme.Authorization)) acme.ID {
			o, made := NewOrder(account.ID, "a.test")
			change(made[0])
			add(t, s, o, made)
			return made[0].ID
		}
		as := func(*acme.Authorization) {}
		ready, valid := NewReadyOrder(account.ID, "a.test")
		add(t, s, ready, valid)
		stored := started(t, s, "a.test")
		for name, test := range map[string]struct {
			account       *acme.Account
			authorization acme.ID
			challenge     acme.ChallengeType
		}{
			"another's":        {addAccount(t, s), of(as), acme.DNS01},
			"not there":        {account, acme.NewID(), acme.DNS01},
			"not offered":      {account, of(as), acme.TLSALPN01 + "x"},
			"expired":          {account, of(func(a *acme.Authorization) { a.ExpiresAt = now().Add(-time.Second) }), acme.DNS01},
			"valid":            {account, valid[0].ID, acme.DNS01},
			"started":          {&acme.Account{ID: stored.AccountID, Key: account.Key}, stored.AuthorizationID, stored.Type},
			"of a proof alone": {account, of(as), acme.DNS01},
		} {
			by := By(test.account.ID)
			if name != "of a proof alone" { // whose key is not known
				by.Key = prove(t, s, test.account).Key
			}
			if a, err := s.Prove(t.Context(), by, test.authorization, test.challenge, proves); a != nil || err != nil {
				t.Errorf("%s: authorization %v, error %v; want none", name, a, err)
			}
		}
	}},
	{"a first proof that ends early, or is of use for longer, has the authorization end with it", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		for _, tt := range []struct {
			lasts, until time.Duration
			want         func(*acme.Authorization) time.Time
		}{
			{0, 20 * time.Minute, func(a *acme.Authorization) time.Time { return a.CreatedAt.Add(20 * time.Minute) }},
			{8 * time.Hour, 0, func(a *acme.Authorization) time.Time { return a.CreatedAt.Add(8 * time.Hour) }},
		} {
			o, made := NewOrder(account.ID, "a.test")
			add(t, s, o, made)
			a, err := s.Prove(t.Context(), prove(t, s, account), made[0].ID, acme.DNS01, func(_ context.Context, v *acme.Validation) bool {
				v.Lasts = tt.lasts
				if tt.until > 0 {
					v.Until = made[0].CreatedAt.Add(tt.until)
				}
				return true
			})
			if err != nil || a == nil {
				t.Fatalf("authorization %v, error %v", a, err)
			}
			if want := tt.want(made[0]); !a.ExpiresAt.Equal(want) {
				t.Errorf("authorization expires at %s, want %s", a.ExpiresAt, want)
			}
			got := mustOrder(t, s, o)
			if want := a.ExpiresAt; tt.until > 0 && !got.ExpiresAt.Equal(want) {
				t.Errorf("order expires at %s, want %s", got.ExpiresAt, want)
			}
		}
	}},
	{"a first proof forgets the failures before it", func(t *testing.T, s Store) {
		account := addAccount(t, s)
		subject := acme.IdentifierSubject(account.ID, acme.Identifier{Type: acme.DNS, Value: "a.test"})
		fail := acme.Spend{Limit: acme.PauseAfterConsecutiveFailures, Subject: subject, Of: acme.Limit{Count: 3}, Recorded: true}
		o, made := NewOrder(account.ID, "a.test")
		add(t, s, o, made)
		if _, err := s.RecordValidation(t.Context(), startedOf(t, s, made[0], lease), unavailableHost(), []acme.Spend{fail}); err != nil {
			t.Fatal(err)
		}
		o, made = NewOrder(account.ID, "a.test")
		add(t, s, o, made)
		if _, err := s.Prove(t.Context(), prove(t, s, account), made[0].ID, acme.DNS01, proves); err != nil {
			t.Fatal(err)
		}
		wantError(t, s.Unpause(t.Context(), subject), acme.ErrNotFound)
	}},
}
