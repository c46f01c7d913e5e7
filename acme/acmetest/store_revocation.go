package acmetest

import (
	"crypto/ecdsa"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

var keyChangeTests = []storeTest{
	{"a key is exchanged for another, once", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		old, err := acme.ThumbprintOf(a.Key)
		if err != nil {
			t.Fatal(err)
		}
		next := &jose.JSONWebKey{Key: NewKey(t).Public()}
		changed, err := s.ChangeKey(t.Context(), a.ID, old, next, nil)
		if err != nil || changed.ID != a.ID || changed.Key.Key == nil || !next.Key.(*ecdsa.PublicKey).Equal(changed.Key.Key) {
			t.Fatalf("ChangeKey: %+v, %v", changed, err)
		}
		_, err = s.AccountByKey(t.Context(), old)
		wantError(t, err, acme.ErrNotFound)
		_, err = s.ChangeKey(t.Context(), a.ID, old, &jose.JSONWebKey{Key: NewKey(t).Public()}, nil)
		wantState(t, err, "account", "valid") // whose key is not the old one any more
	}},
	{"a key of another account is refused, with that account", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		old, err := acme.ThumbprintOf(a.Key)
		if err != nil {
			t.Fatal(err)
		}
		holder, err := s.ChangeKey(t.Context(), a.ID, old, other.Key, nil)
		wantError(t, err, acme.ErrKeyInUse)
		if holder == nil || holder.ID != other.ID {
			t.Errorf("the account returned is %+v, want %s", holder, other.ID)
		}
	}},
	{"a deactivated account keeps its key", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		old, err := acme.ThumbprintOf(a.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeactivateAccount(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		_, err = s.ChangeKey(t.Context(), a.ID, old, &jose.JSONWebKey{Key: NewKey(t).Public()}, nil)
		wantState(t, err, "account", "deactivated")
	}},
}

var revocationTests = []storeTest{
	{"a certificate is revoked once and listed", func(t *testing.T, s Store) {
		c := issued(t, s)
		found, err := s.CertificateBySerial(t.Context(), c.Serial)
		if err != nil || found.ID != c.ID {
			t.Fatalf("CertificateBySerial: %+v, %v", found, err)
		}
		if err := s.RevokeCertificate(t.Context(), c.ID, 1); err != nil {
			t.Fatal(err)
		}
		wantState(t, s.RevokeCertificate(t.Context(), c.ID, 4), "certificate", "revoked")
		state, err := s.Revocations(t.Context(), c.IssuerID)
		if err != nil || len(state.Revoked) != 1 || state.Revoked[0].Serial != c.Serial || state.Revoked[0].Reason != 1 {
			t.Errorf("Revocations: %+v, %v", state, err)
		}
		if left := time.Since(state.AsOf).Abs(); left > time.Minute {
			t.Errorf("as of %v", state.AsOf)
		}
	}},
	{"revocations are of one issuer", func(t *testing.T, s Store) {
		c := issued(t, s)
		if err := s.RevokeCertificate(t.Context(), c.ID, 0); err != nil {
			t.Fatal(err)
		}
		state, err := s.Revocations(t.Context(), NewIssuer(t, s))
		if err != nil || len(state.Revoked) != 0 {
			t.Errorf("another issuer's: %+v, %v", state, err)
		}
	}},
	{"what is not there is not revoked", func(t *testing.T, s Store) {
		wantError(t, s.RevokeCertificate(t.Context(), acme.NewID(), 0), acme.ErrNotFound)
		_, err := s.CertificateBySerial(t.Context(), acme.Serial{1})
		wantError(t, err, acme.ErrNotFound)
	}},
	{"the newest CRL is kept", func(t *testing.T, s Store) {
		issuer := NewIssuer(t, s)
		_, err := s.CRL(t.Context(), issuer)
		wantError(t, err, acme.ErrNotFound)
		newer := acme.CRL{DER: []byte{2}, ThisUpdate: now(), NextUpdate: now().Add(time.Hour)}
		older := acme.CRL{DER: []byte{1}, ThisUpdate: now().Add(-time.Hour), NextUpdate: now()}
		for _, crl := range []acme.CRL{newer, older} {
			if err := s.SaveCRL(t.Context(), issuer, crl); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := s.CRL(t.Context(), issuer)
		if diff := cmp.Diff(newer, kept); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}},
}

var reuseTests = []storeTest{
	{"a valid authorization is found by its identifier, and a pending one is not", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		ready, trusted := provedOrder(t, s, a.ID, "a.example", "*.b.example"), add2(t, s)(NewReadyOrder(a.ID, "d.example"))
		add2(t, s)(NewOrder(a.ID, "c.example"))
		wanted := dnsNames("a.example", "*.b.example", "b.example", "c.example", "d.example")
		for proved, want := range map[bool][]acme.ID{
			true: ready.Authorizations, false: append(slices.Clone(ready.Authorizations), trusted.Authorizations...),
		} {
			held, err := s.ValidAuthorizations(t.Context(), a.ID, wanted, now().Add(-time.Hour), now(), proved)
			var got []acme.ID
			for _, a := range held {
				got = append(got, a.ID)
			}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("proved %t: error %v, held (-want +got):\n%s", proved, err, diff)
			}
		}
	}},
	{"authorizations that are too old, or of another account, are not found", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		provedOrder(t, s, a.ID, "a.example")
		for name, query := range map[string]struct {
			account          acme.ID
			after, lastUntil time.Time
		}{
			"another account": {addAccount(t, s).ID, now().Add(-time.Hour), now()},
			"made before":     {a.ID, now().Add(time.Minute), now()},
			"ends before":     {a.ID, now().Add(-time.Hour), now().Add(2 * time.Hour)},
		} {
			held, err := s.ValidAuthorizations(t.Context(), query.account, dnsNames("a.example"), query.after, query.lastUntil, true)
			if err != nil || len(held) != 0 {
				t.Errorf("%s: %+v, %v", name, held, err)
			}
		}
	}},
	{"a pre-authorization belongs to no order", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		_, made := NewOrder(a.ID, "a.example")
		made[0].OrderID = acme.ID{}
		if _, err := s.CreateAuthorization(t.Context(), made[0], nil); err != nil {
			t.Fatal(err)
		}
		if found := mustAuthorization(t, s, a.ID, made[0].ID); !found.OrderID.IsZero() || found.Status != acme.AuthorizationPending {
			t.Errorf("found %+v", found)
		}
		made[0].ID, made[0].AccountID = acme.NewID(), acme.NewID()
		_, err := s.CreateAuthorization(t.Context(), made[0], nil)
		wantError(t, err, acme.ErrNotFound)
	}},
	{"unfinished orders are listed by ID, a page at a time", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		var want []acme.ID
		for range 3 {
			want = append(want, add2(t, s)(NewOrder(a.ID, "a.example")).ID)
		}
		finalized(t, s, NewIssuer(t, s), a.ID)
		first, err := s.UnfinishedOrders(t.Context(), a.ID, acme.ID{}, 2)
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.UnfinishedOrders(t.Context(), a.ID, first[1], 2)
		if diff := cmp.Diff(want, append(first, second...)); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}},
	{"a certificate is replaced by one order, unless that failed", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		replace := func() (*acme.Order, error) {
			o, made := NewOrder(a.ID, "a.example")
			o.Replaces = "key.serial"
			return o, CreateOrder(t.Context(), s, o, made)
		}
		o, err := replace()
		if err != nil {
			t.Fatal(err)
		}
		_, err = replace()
		wantState(t, err, "certificate", "replaced")
		if _, err := s.DeactivateAuthorization(t.Context(), a.ID, o.Authorizations[0]); err != nil {
			t.Fatal(err)
		}
		if _, err = replace(); err != nil {
			t.Errorf("after the first order became invalid: %v", err)
		}
	}},
	{"an order that has expired replaces nothing, swept or not", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		var orders []*acme.Order
		for _, left := range []time.Duration{-time.Second, time.Hour} {
			o, made := NewOrder(a.ID, "a.example")
			o.Replaces, o.ExpiresAt = "key.serial", now().Add(left)
			orders = append(orders, add(t, s, o, made))
		}
		if got := mustOrder(t, s, orders[0]); got.Status != acme.OrderInvalid || got.Error == nil {
			t.Errorf("order is %s with error %v; want it invalid, and why", got.Status, got.Error)
		}
		o, made := NewOrder(a.ID, "a.example")
		o.Replaces = "key.serial"
		wantState(t, CreateOrder(t.Context(), s, o, made), "certificate", "replaced")
	}},
}

// provedOrder adds an order and proves control of all its names, by dns-01.
func provedOrder(t testing.TB, s Store, account acme.ID, names ...string) *acme.Order {
	t.Helper()
	o, made := NewOrder(account, names...)
	add(t, s, o, made)
	for _, a := range made {
		if _, err := s.RecordValidation(t.Context(), startedOf(t, s, a, lease), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// issued returns a certificate of a new account.
func issued(t testing.TB, s Store) *acme.Certificate {
	t.Helper()
	o := finalized(t, s, NewIssuer(t, s), addAccount(t, s).ID)
	c, err := s.Certificate(t.Context(), By(o.AccountID), o.ID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// add2 is add for what NewOrder returns.
func add2(t testing.TB, s Store) func(*acme.Order, []*acme.Authorization) *acme.Order {
	t.Helper()
	return func(o *acme.Order, made []*acme.Authorization) *acme.Order { return add(t, s, o, made) }
}

// dns returns identifiers.
func dnsNames(names ...string) []acme.Identifier {
	ids := make([]acme.Identifier, len(names))
	for i, n := range names {
		ids[i] = acme.Identifier{Type: acme.DNS, Value: n}
	}
	return ids
}
