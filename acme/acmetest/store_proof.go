package acmetest

import (
	"errors"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// prove returns the proof of an account with a nonce that was not used.
func prove(t *testing.T, s Store, a *acme.Account) *acme.Proof {
	t.Helper()
	key, err := acme.ThumbprintOf(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &acme.Proof{Account: a.ID, Key: key, Nonce: NewNonce(t, s)}
}

// proved are the methods that take a proof: each succeeds with a good one.
var proved = map[string]func(t *testing.T, s Store, by *acme.Proof) error{
	"CreateOrder": func(t *testing.T, s Store, by *acme.Proof) error {
		o, made := NewOrder(by.Account, "a.test")
		_, err := s.CreateOrder(t.Context(), by, o, made, nil)
		if _, found := s.Order(t.Context(), By(by.Account), o.ID); (found == nil) != (err == nil) {
			t.Errorf("CreateOrder: %v, and then Order: %v", err, found)
		}
		return err
	},
	"Order": func(t *testing.T, s Store, by *acme.Proof) error {
		o, made := NewOrder(by.Account, "a.test")
		add(t, s, o, made)
		_, err := s.Order(t.Context(), by, o.ID)
		return err
	},
	"Authorization": func(t *testing.T, s Store, by *acme.Proof) error {
		o, made := NewOrder(by.Account, "a.test")
		add(t, s, o, made)
		_, err := s.Authorization(t.Context(), by, made[0].ID)
		return err
	},
	"OrderAuthorizations": func(t *testing.T, s Store, by *acme.Proof) error {
		o, made := NewOrder(by.Account, "a.test")
		add(t, s, o, made)
		_, _, err := s.OrderAuthorizations(t.Context(), by, o.ID)
		return err
	},
	"StartValidation": func(t *testing.T, s Store, by *acme.Proof) error {
		o, made := NewOrder(by.Account, "a.test")
		add(t, s, o, made)
		_, started, err := s.StartValidation(t.Context(), by, made[0].ID, acme.DNS01, time.Hour, nil)
		if (started != nil) != (err == nil) {
			t.Errorf("StartValidation: %v, %v", started, err)
		}
		a, read := s.Authorization(t.Context(), By(by.Account), made[0].ID)
		if read != nil || (a.Challenge(acme.DNS01).Status == acme.ChallengePending) != (err != nil) {
			t.Errorf("StartValidation: %v, and then Authorization: %+v, %v", err, a, read)
		}
		return err
	},
	"Prove": func(t *testing.T, s Store, by *acme.Proof) error {
		o, made := NewOrder(by.Account, "a.test")
		add(t, s, o, made)
		a, err := s.Prove(t.Context(), by, made[0].ID, acme.HTTP01, proves)
		if got := mustOrder(t, s, o).Status; (got == acme.OrderReady) != (err == nil) || (a != nil) != (err == nil) {
			t.Errorf("Prove: %v, %v, and then the order is %s", a, err, got)
		}
		return err
	},
	"FinalizeOrder": func(t *testing.T, s Store, by *acme.Proof) error {
		issuer := NewIssuer(t, s)
		o, made := NewReadyOrder(by.Account, "a.test")
		add(t, s, o, made)
		_, err := s.FinalizeOrder(t.Context(), by, acme.Finalization{OrderID: o.ID}, issues(issuer))
		if got := mustOrder(t, s, o).Status; (got == acme.OrderValid) != (err == nil) {
			t.Errorf("FinalizeOrder: %v, and then the order is %s", err, got)
		}
		return err
	},
	"Certificate": func(t *testing.T, s Store, by *acme.Proof) error {
		issuer := NewIssuer(t, s)
		o, made := NewReadyOrder(by.Account, "a.test")
		add(t, s, o, made)
		o, err := s.FinalizeOrder(t.Context(), By(by.Account), acme.Finalization{OrderID: o.ID}, issues(issuer))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Certificate(t.Context(), by, o.ID)
		return err
	},
}

// eachProved runs a test of every method that takes a proof.
func eachProved(test func(t *testing.T, s Store, call func(*acme.Proof) error)) func(*testing.T, Store) {
	return func(t *testing.T, s Store) {
		for name, call := range proved {
			t.Run(name, func(t *testing.T) {
				test(t, s, func(by *acme.Proof) error { return call(t, s, by) })
			})
		}
	}
}

var proofTests = []storeTest{
	{"a nonce is taken with what it is for, once", eachProved(func(t *testing.T, s Store, call func(*acme.Proof) error) {
		by := prove(t, s, addAccount(t, s))
		if err := call(by); err != nil || !by.Redeemed {
			t.Fatalf("redeemed %t, error %v", by.Redeemed, err)
		}
		wantUsed(t, s.RedeemNonce(t.Context(), by.Nonce))
		again := *by
		again.Redeemed = false
		wantUsed(t, call(&again))
	})},
	{"a nonce of a key that is gone does nothing", eachProved(func(t *testing.T, s Store, call func(*acme.Proof) error) {
		by := prove(t, s, addAccount(t, s))
		by.Nonce.KeyID++
		wantError(t, call(by), acme.ErrNonceKeyGone)
	})},
	{"the proof of another key does nothing, and leaves the nonce", eachProved(func(t *testing.T, s Store, call func(*acme.Proof) error) {
		by := prove(t, s, addAccount(t, s))
		key := by.Key
		by.Key = acme.Thumbprint{1}
		wantError(t, call(by), acme.ErrAccountChanged)
		by.Key = key
		if err := call(by); err != nil {
			t.Errorf("with the right key: %v", err)
		}
	})},
	{"the proof of an account that is not valid does nothing, and leaves the nonce", eachProved(func(t *testing.T, s Store, call func(*acme.Proof) error) {
		a := addAccount(t, s)
		by := prove(t, s, a)
		by.Account = addAccount(t, s).ID
		if _, err := s.DeactivateAccount(t.Context(), by.Account); err != nil {
			t.Fatal(err)
		}
		// What the method is called for belongs to an account that is valid: the proof
		// alone is at fault.
		unwanted := *by
		if _, err := s.Order(t.Context(), &unwanted, acme.NewID()); !errors.Is(err, acme.ErrAccountChanged) {
			t.Errorf("error %v", err)
		}
		by.Account = a.ID
		if err := call(by); err != nil {
			t.Errorf("with the right account: %v", err)
		}
	})},
	{"of 20 that have the same nonce at once, one does what it asks for", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		by := prove(t, s, a)
		made := make([]bool, 20)
		atOnce(len(made), func(i int) {
			mine := *by
			o, authorizations := NewOrder(a.ID, "a.test")
			_, err := s.CreateOrder(t.Context(), &mine, o, authorizations, nil)
			made[i] = err == nil
			if err != nil && !errors.Is(err, acme.ErrNonceUsed) {
				t.Error(err)
			}
		})
		orders, err := s.UnfinishedOrders(t.Context(), a.ID, acme.ID{}, len(made))
		if err != nil || len(orders) != 1 {
			t.Errorf("%d orders, error %v; want one", len(orders), err)
		}
	}},
}
