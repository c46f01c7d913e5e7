package acmetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// lease is a lease that does not run out during a test, and ranOut one that has.
const (
	lease  = time.Hour
	ranOut = -time.Second
)

// unavailableHost is the problem of an attempt that failed.
func unavailableHost() *acme.Problem { return acme.Problemf(acme.Connection, "192.0.2.1: refused") }

var authorizationTests = []storeTest{
	{"an order is read with its authorizations, and how they were proved", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		o, made := NewOrder(a.ID, "a.test", "b.test")
		add(t, s, o, made)
		add2(t, s)(NewOrder(a.ID, "c.test"))
		c, err := s.RecordValidation(t.Context(), startedOf(t, s, made[0], lease), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		order, authorizations, err := s.OrderAuthorizations(t.Context(), By(a.ID), o.ID)
		if err != nil || order.ID != o.ID || len(authorizations) != 2 {
			t.Fatalf("order %+v with %d authorizations, error %v", order, len(authorizations), err)
		}
		for _, got := range authorizations {
			if diff := cmp.Diff(mustAuthorization(t, s, a.ID, got.ID), got); diff != "" {
				t.Errorf("authorization (-read by itself +with its order):\n%s", diff)
			}
			if proved := got.Proved(); (proved != nil) != (got.ID == made[0].ID) || (proved != nil && *proved != c) {
				t.Errorf("%s was proved by %+v", got.Identifier, proved)
			}
		}
		for _, ask := range [][2]acme.ID{{addAccount(t, s).ID, o.ID}, {a.ID, acme.NewID()}} {
			_, _, err := s.OrderAuthorizations(t.Context(), By(ask[0]), ask[1])
			wantError(t, err, acme.ErrNotFound)
		}
	}},
	{"a pending authorization is deactivated, and its order becomes invalid", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		o, made := NewOrder(a.ID, "a.test", "b.test")
		add(t, s, o, made)
		got, err := s.DeactivateAuthorization(t.Context(), a.ID, made[0].ID)
		if err != nil || got.Status != acme.AuthorizationDeactivated {
			t.Fatalf("authorization %v, error %v; want it deactivated", got, err)
		}
		if got := mustOrder(t, s, o); got.Status != acme.OrderInvalid || got.Error == nil {
			t.Errorf("order is %s with error %v; want it invalid, and why", got.Status, got.Error)
		}
		if got := mustAuthorization(t, s, a.ID, made[1].ID); got.Status != acme.AuthorizationPending {
			t.Errorf("the other authorization is %s; want it pending", got.Status)
		}
	}},
	{"a valid authorization is deactivated, and all unfinished orders that use it become invalid", func(t *testing.T, s Store) {
		issuer, a := NewIssuer(t, s), addAccount(t, s)
		first := provedOrder(t, s, a.ID, "valid.test")
		if _, err := finalize(t, s, first, issuer); err != nil {
			t.Fatal(err)
		}
		second, _ := NewReadyOrder(a.ID, "valid.test")
		second.Authorizations = first.Authorizations
		add(t, s, second, nil)
		unrelated, made := NewReadyOrder(a.ID, "b.test")
		add(t, s, unrelated, made)
		if _, err := s.DeactivateAuthorization(t.Context(), a.ID, first.Authorizations[0]); err != nil {
			t.Fatal(err)
		}
		for o, want := range map[*acme.Order]acme.OrderStatus{
			first: acme.OrderValid, second: acme.OrderInvalid, unrelated: acme.OrderReady,
		} {
			if got := mustOrder(t, s, o); got.Status != want {
				t.Errorf("order is %s; want %s", got.Status, want)
			}
		}
	}},
	{"an order that uses an authorization again while it is deactivated does not stay ready", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		for range 20 {
			first := provedOrder(t, s, a.ID, "a.test")
			second, _ := NewReadyOrder(a.ID, "a.test")
			second.Authorizations = first.Authorizations
			var created error
			atOnce(2, func(i int) {
				if i == 0 {
					created = CreateOrder(t.Context(), s, second, nil)
				} else if _, err := s.DeactivateAuthorization(t.Context(), a.ID, first.Authorizations[0]); err != nil {
					t.Error(err)
				}
			})
			if created != nil {
				wantState(t, created, "authorization", "not valid")
			} else if got := mustOrder(t, s, second); got.Status != acme.OrderInvalid {
				t.Fatalf("order is %s; want it invalid", got.Status)
			}
		}
	}},
	{"an authorization is deactivated once", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		o, made := NewOrder(a.ID, "a.test")
		add(t, s, o, made)
		if _, err := s.DeactivateAuthorization(t.Context(), a.ID, made[0].ID); err != nil {
			t.Fatal(err)
		}
		_, err := s.DeactivateAuthorization(t.Context(), a.ID, made[0].ID)
		wantState(t, err, "authorization", "deactivated")
	}},
	{"an authorization that has expired is not deactivated, and is read as it was recorded", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		o, made := NewOrder(a.ID, "a.test")
		made[0].ExpiresAt = now().Add(-time.Second)
		add(t, s, o, made)
		_, err := s.DeactivateAuthorization(t.Context(), a.ID, made[0].ID)
		wantState(t, err, "authorization", "expired")
		if got := mustAuthorization(t, s, a.ID, made[0].ID); got.Status != acme.AuthorizationPending {
			t.Errorf("authorization is %s; want it pending", got.Status)
		}
	}},
	{"an authorization is deactivated by its account only", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		o, made := NewOrder(a.ID, "a.test")
		add(t, s, o, made)
		_, err := s.DeactivateAuthorization(t.Context(), other.ID, made[0].ID)
		wantError(t, err, acme.ErrNotFound)
		_, err = s.DeactivateAuthorization(t.Context(), a.ID, acme.NewID())
		wantError(t, err, acme.ErrNotFound)
		if got := mustOrder(t, s, o); got.Status != acme.OrderPending {
			t.Errorf("order is %s; want it pending", got.Status)
		}
	}},
	{"an authorization that is deactivated while it is validated takes no result", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		if _, err := s.DeactivateAuthorization(t.Context(), v.AccountID, v.AuthorizationID); err != nil {
			t.Fatal(err)
		}
		_, err := s.RecordValidation(t.Context(), v, nil, nil)
		wantState(t, err, "authorization", "deactivated")
		wantState(t, s.RetryValidation(t.Context(), v, unavailableHost(), 0), "authorization", "deactivated")
		got := mustAuthorization(t, s, v.AccountID, v.AuthorizationID)
		if c := got.Challenge(v.Type); c.Status != acme.ChallengeInvalid {
			t.Errorf("challenge is %s; want it invalid", c.Status)
		}
		if claimed, err := s.ClaimValidations(t.Context(), 10, lease); err != nil || len(claimed) != 0 {
			t.Errorf("claimed %v, error %v; want nothing", claimed, err)
		}
	}},
	{"a deactivation and a result at once leave one of them", func(t *testing.T, s Store) {
		v := started(t, s, "a.test")
		o, err := s.Order(t.Context(), By(v.AccountID), mustAuthorization(t, s, v.AccountID, v.AuthorizationID).OrderID)
		if err != nil {
			t.Fatal(err)
		}
		var recorded error
		atOnce(2, func(i int) {
			if i == 0 {
				_, recorded = s.RecordValidation(t.Context(), v, nil, nil)
			} else if _, err := s.DeactivateAuthorization(t.Context(), v.AccountID, v.AuthorizationID); err != nil {
				t.Error(err)
			}
		})
		if recorded != nil {
			wantState(t, recorded, "authorization", "deactivated")
		}
		if got := mustOrder(t, s, o); got.Status != acme.OrderInvalid {
			t.Errorf("order is %s; want it invalid", got.Status)
		}
	}},
}

// started returns the validation of the first name of a new order of a new account.
func started(t testing.TB, s Store, names ...string) *acme.Validation {
	t.Helper()
	o, made := NewOrder(addAccount(t, s).ID, names...)
	add(t, s, o, made)
	return startedOf(t, s, made[0], lease)
}

// startedOf returns the validation of an authorization by dns-01.
func startedOf(t testing.TB, s Store, a *acme.Authorization, lease time.Duration) *acme.Validation {
	t.Helper()
	_, v, err := s.StartValidation(t.Context(), By(a.AccountID), a.ID, acme.DNS01, lease, nil)
	if err != nil || v == nil {
		t.Fatalf("StartValidation: validation %v, error %v", v, err)
	}
	return v
}
