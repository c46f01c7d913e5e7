package acmetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/acme-ca/acme-ca-operator/acme"
)

var accountTests = []storeTest{
	{"an account is read back by its key as it was created", func(t *testing.T, s Store) {
		want := NewAccount(t)
		want.ExternalAccountID = "tenant-1"
		created, isNew, _, err := s.CreateAccount(t.Context(), want, nil)
		if err != nil || !isNew {
			t.Fatalf("CreateAccount: created %t, error %v", isNew, err)
		}
		thumbprint, err := acme.ThumbprintOf(want.Key)
		if err != nil {
			t.Fatal(err)
		}
		read, err := s.AccountByKey(t.Context(), thumbprint)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []*acme.Account{created, read} {
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(acme.Account{}, "Key")); diff != "" {
				t.Errorf("account (-want +got):\n%s", diff)
			}
			if found, err := acme.ThumbprintOf(got.Key); err != nil || found != thumbprint {
				t.Errorf("key with thumbprint %s, error %v; want %s", found, err, thumbprint)
			}
		}
	}},
	{"an account without contacts is one", func(t *testing.T, s Store) {
		a := NewAccount(t)
		a.Contact = nil
		got, _, _, err := s.CreateAccount(t.Context(), a, nil)
		if err != nil || len(got.Contact) != 0 {
			t.Errorf("contacts %q, error %v; want none", got.Contact, err)
		}
	}},
	{"a second account with a key is the first", func(t *testing.T, s Store) {
		first := addAccount(t, s)
		second := NewAccount(t)
		second.Key = first.Key
		got, created, _, err := s.CreateAccount(t.Context(), second, nil)
		if err != nil || created || got.ID != first.ID {
			t.Errorf("created %t, error %v; want the account there is", created, err)
		}
	}},
	{"of 20 that create an account with one key at once, one does and all get it", func(t *testing.T, s Store) {
		key := NewAccount(t).Key
		var mu sync.Mutex
		creators, ids := 0, map[acme.ID]bool{}
		atOnce(20, func(int) {
			a := NewAccount(t)
			a.Key = key
			got, created, _, err := s.CreateAccount(t.Context(), a, nil)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[got.ID] = true
			if created {
				creators++
			}
		})
		if creators != 1 || len(ids) != 1 {
			t.Errorf("%d creators, %d accounts; want one", creators, len(ids))
		}
	}},
	{"a key that no account has is not found", func(t *testing.T, s Store) {
		_, err := s.AccountByKey(t.Context(), acme.Thumbprint{1})
		wantError(t, err, acme.ErrNotFound)
	}},
	{"the contacts of a valid account are replaced", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		got, err := s.UpdateContact(t.Context(), a.ID, []string{"mailto:a@example.test", "mailto:b@example.test"})
		if err != nil || len(got.Contact) != 2 {
			t.Fatalf("account %v, error %v; want two contacts", got, err)
		}
		if got, err = s.UpdateContact(t.Context(), a.ID, nil); err != nil || len(got.Contact) != 0 {
			t.Errorf("account %v, error %v; want no contact", got, err)
		}
	}},
	{"the contacts of no account are not replaced", func(t *testing.T, s Store) {
		_, err := s.UpdateContact(t.Context(), acme.NewID(), nil)
		wantError(t, err, acme.ErrNotFound)
	}},
	{"a deactivated account is changed no more", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		got, err := s.DeactivateAccount(t.Context(), a.ID)
		if err != nil || got.Status != acme.AccountDeactivated {
			t.Fatalf("account %v, error %v; want it deactivated", got, err)
		}
		_, err = s.DeactivateAccount(t.Context(), a.ID)
		wantState(t, err, "account", "deactivated")
		_, err = s.UpdateContact(t.Context(), a.ID, nil)
		wantState(t, err, "account", "deactivated")
	}},
	{"no account is not deactivated", func(t *testing.T, s Store) {
		_, err := s.DeactivateAccount(t.Context(), acme.NewID())
		wantError(t, err, acme.ErrNotFound)
	}},
	{"deactivation ends the account's unfinished orders and no others", func(t *testing.T, s Store) {
		issuer, a, other := NewIssuer(t, s), addAccount(t, s), addAccount(t, s)
		valid := finalized(t, s, issuer, a.ID)
		pending, made := NewOrder(a.ID, "pending.test")
		add(t, s, pending, made)
		ready, made := NewReadyOrder(a.ID, "ready.test")
		add(t, s, ready, made)
		foreign, made := NewReadyOrder(other.ID, "foreign.test")
		add(t, s, foreign, made)
		if _, err := s.DeactivateAccount(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		for o, want := range map[*acme.Order]acme.OrderStatus{
			valid: acme.OrderValid, pending: acme.OrderInvalid, ready: acme.OrderInvalid, foreign: acme.OrderReady,
		} {
			got := mustOrder(t, s, o)
			if got.Status != want || (got.Error != nil) != (want == acme.OrderInvalid) {
				t.Errorf("order for %v is %s with error %v; want %s", o.Identifiers, got.Status, got.Error, want)
			}
		}
	}},
}

var nonceTests = []storeTest{
	{"there is a key, and it is the same for all", func(t *testing.T, s Store) {
		first, err := s.NonceKeys(t.Context())
		if err != nil || len(first) != 1 {
			t.Fatalf("%d keys, error %v; want one", len(first), err)
		}
		if first[0].Secret == [32]byte{} {
			t.Error("the secret is zero")
		}
		again, err := s.NonceKeys(t.Context())
		if diff := cmp.Diff(first, again); err != nil || diff != "" {
			t.Errorf("error %v, keys (-first +again):\n%s", err, diff)
		}
	}},
	{"of 20 that ask for the first key at once, all get one", func(t *testing.T, s Store) {
		atOnce(20, func(int) { _ = s.Ping(t.Context()) }) // so that connections are there
		var mu sync.Mutex
		seen := map[acme.NonceKey]bool{}
		atOnce(20, func(int) {
			keys, err := s.NonceKeys(t.Context())
			if err != nil || len(keys) != 1 {
				t.Errorf("%d keys, error %v; want one", len(keys), err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[keys[0]] = true
		})
		if len(seen) != 1 {
			t.Errorf("%d keys; want one", len(seen))
		}
	}},
	{"a nonce is redeemed once", func(t *testing.T, s Store) {
		n := NewNonce(t, s)
		if err := s.RedeemNonce(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		wantUsed(t, s.RedeemNonce(t.Context(), n))
	}},
	{"of 50 that redeem a nonce at once, one does", func(t *testing.T, s Store) {
		n := NewNonce(t, s)
		var mu sync.Mutex
		redeemed := 0
		atOnce(50, func(int) {
			err := s.RedeemNonce(t.Context(), n)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				redeemed++
			} else {
				wantUsed(t, err)
			}
		})
		if redeemed != 1 {
			t.Errorf("redeemed %d times; want once", redeemed)
		}
	}},
	{"a nonce that has expired is not redeemed", func(t *testing.T, s Store) {
		n := NewNonce(t, s)
		n.ExpiresAt = time.Now().Add(-time.Minute).Truncate(time.Second)
		wantUsed(t, s.RedeemNonce(t.Context(), n))
	}},
	{"a nonce whose key is gone is not redeemed, and says so", func(t *testing.T, s Store) {
		n := NewNonce(t, s)
		n.KeyID++
		wantError(t, s.RedeemNonce(t.Context(), n), acme.ErrNonceKeyGone)
		_, err := s.Authenticate(t.Context(), n, addAccount(t, s).ID)
		wantError(t, err, acme.ErrNonceKeyGone)
	}},
	{"authentication takes the nonce and reads the account", func(t *testing.T, s Store) {
		n, want := NewNonce(t, s), addAccount(t, s)
		got, err := s.Authenticate(t.Context(), n, want.ID)
		if err != nil || got.ID != want.ID {
			t.Fatalf("account %v, error %v; want %s", got, err, want.ID)
		}
		_, err = s.Authenticate(t.Context(), n, want.ID)
		wantUsed(t, err)
	}},
	{"authentication takes the nonce where there is no account", func(t *testing.T, s Store) {
		n := NewNonce(t, s)
		_, err := s.Authenticate(t.Context(), n, acme.NewID())
		wantError(t, err, acme.ErrNotFound)
		wantUsed(t, s.RedeemNonce(t.Context(), n))
	}},
	{"authentication returns a deactivated account as such", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		if _, err := s.DeactivateAccount(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		got, err := s.Authenticate(t.Context(), NewNonce(t, s), a.ID)
		if err != nil || got.Status != acme.AccountDeactivated {
			t.Errorf("account %v, error %v; want it deactivated", got, err)
		}
	}},
}

// wantUsed checks that a nonce was refused while its key is there.
func wantUsed(t *testing.T, err error) {
	t.Helper()
	wantError(t, err, acme.ErrNonceUsed)
	if errors.Is(err, acme.ErrNonceKeyGone) {
		t.Errorf("error %v; want that the key is there", err)
	}
}

var issuerTests = []storeTest{
	{"an issuer is read back with its chains", func(t *testing.T, s Store) {
		want := &acme.Issuer{ID: NewIssuer(t, s), Chains: [][][]byte{{{1, 2, 3}, {4, 5}}, {{6}}}}
		got, err := s.Issuer(t.Context(), want.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("error %v, issuer (-want +got):\n%s", err, diff)
		}
	}},
	{"an issuer that is registered again has its new chains", func(t *testing.T, s Store) {
		want := &acme.Issuer{ID: NewIssuer(t, s), Chains: [][][]byte{{{7}}}}
		for range 2 {
			if err := s.RegisterIssuer(t.Context(), want); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Issuer(t.Context(), want.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("error %v, issuer (-want +got):\n%s", err, diff)
		}
	}},
	{"an issuer that was never registered is not found", func(t *testing.T, s Store) {
		_, err := s.Issuer(t.Context(), acme.IssuerID{1})
		wantError(t, err, acme.ErrNotFound)
	}},
	{"the store can be asked", func(t *testing.T, s Store) {
		if err := s.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}},
}
