package acmetest

import (
	"context"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// renewer makes orders that owe a limit which renewals are exempt from, and one
// which they are not.
type renewer struct {
	t      *testing.T
	store  Store
	issuer acme.IssuerID
	limit  acme.Spend
}

// order makes a ready order, and returns what it was answered.
func (r *renewer) order(account acme.ID, names ...string) (*acme.Order, []acme.Quota, error) {
	r.t.Helper()
	o, made := NewReadyOrder(account, names...)
	spend := r.limit
	if spend.Renewal == (acme.Renewal{}) {
		spend.Renewal.Names = acme.NameSetOf(o.Identifiers)
	}
	quotas, err := r.store.CreateOrder(r.t.Context(), By(account), o, made, []acme.Spend{spend, perHour(acme.CertificatesPerDomain, "test", 100)})
	return o, quotas, err
}

// issue finalizes an order with a certificate that has had some of its life.
func (r *renewer) issue(o *acme.Order, age, left time.Duration) acme.ID {
	r.t.Helper()
	valid, err := r.store.FinalizeOrder(r.t.Context(), By(o.AccountID), acme.Finalization{OrderID: o.ID, Key: acme.Thumbprint{1}},
		func(context.Context, *acme.Order) (*acme.Certificate, error) {
			c := NewCertificate(r.issuer)
			c.NotBefore, c.NotAfter = now().Add(-age), now().Add(left)
			return c, nil
		})
	if err != nil {
		r.t.Fatal(err)
	}
	return valid.ID
}

// wantExempt checks that an order is made, and owes only the other limit.
func (r *renewer) wantExempt(says string, account acme.ID, names ...string) *acme.Order {
	r.t.Helper()
	o, quotas, err := r.order(account, names...)
	if err != nil || len(quotas) != 1 || quotas[0].Limit != acme.CertificatesPerDomain {
		r.t.Errorf("%s: error %v, quotas %+v; want that it is exempt", says, err, quotas)
	}
	return o
}

// wantOwed checks that an order is refused.
func (r *renewer) wantOwed(says string, account acme.ID, names ...string) {
	r.t.Helper()
	if _, _, err := r.order(account, names...); err == nil {
		r.t.Errorf("%s: it is exempt", says)
	} else {
		wantLimited(r.t, err, acme.OrdersPerAccount, r.limit.Of.Emission())
	}
}

var renewalTests = []storeTest{
	{"an order with exactly the names of a certificate that is due owes nothing which renewals are exempt from", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		r := &renewer{t: t, store: s, issuer: NewIssuer(t, s), limit: perHour(acme.OrdersPerAccount, "x", 1)}
		first, _, err := r.order(a.ID, "a.test", "b.test")
		if err != nil {
			t.Fatal(err)
		}
		r.wantOwed("there is no certificate yet", a.ID, "a.test", "b.test")
		r.issue(first, 50*time.Minute, 10*time.Minute)
		r.wantOwed("fewer names", a.ID, "a.test")
		r.wantOwed("more names", a.ID, "a.test", "b.test", "c.test")
		r.wantOwed("another account", other.ID, "a.test", "b.test")
		next := r.wantExempt("the same names", a.ID, "b.test", "a.test")
		renewed := r.issue(next, time.Minute, time.Hour)
		r.wantOwed("the certificate is new", a.ID, "a.test", "b.test")
		if err := s.RevokeCertificate(t.Context(), renewed, 1); err != nil {
			t.Fatal(err)
		}
		r.wantOwed("it was revoked", a.ID, "a.test", "b.test")
	}},
	{"an order that replaces a certificate which is due owes as little", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		r := &renewer{t: t, store: s, issuer: NewIssuer(t, s), limit: perHour(acme.OrdersPerAccount, "x", 1)}
		if _, _, err := r.order(a.ID, "a.test"); err != nil {
			t.Fatal(err)
		}
		r.wantOwed("it replaces nothing", a.ID, "a.test")
		r.limit.Renewal = acme.Renewal{Names: acme.NameSet{1}, Lifetime: time.Hour}
		r.wantExempt("it does", a.ID, "a.test")
	}},
	{"no more than 20 orders renew a certificate in half of its life, and of those at once no more are exempt", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		r := &renewer{t: t, store: s, issuer: NewIssuer(t, s), limit: perHour(acme.OrdersPerAccount, "x", 5)}
		first, _, err := r.order(a.ID, "a.test")
		if err != nil {
			t.Fatal(err)
		}
		r.issue(first, 50*time.Hour, 10*time.Hour)
		taken, refused := crowd(t, 40, func() error {
			_, _, err := r.order(a.ID, "a.test")
			return err
		})
		if taken != 20+4 || refused != 16 {
			t.Errorf("made %d, refused %d; want 20 renewals, the 4 that are left to any order, and 16", taken, refused)
		}
		r.limit.Renewal = acme.Renewal{Names: acme.NameSetOf(first.Identifiers), Lifetime: 60 * time.Hour}
		r.wantOwed("it replaces the certificate", a.ID, "a.test")
		r.wantExempt("another account's", other.ID, "a.test")
		r.limit.Renewal.Names = acme.NameSet{1}
		r.wantExempt("another certificate", a.ID, "a.test")
	}},
	{"what a client chooses a certificate's life to be is not how many orders renew it", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		r := &renewer{t: t, store: s, issuer: NewIssuer(t, s), limit: perHour(acme.OrdersPerAccount, "x", 1)}
		first, _, err := r.order(a.ID, "a.test")
		if err != nil {
			t.Fatal(err)
		}
		r.issue(first, 2*time.Second, 2*time.Second)
		for range 20 {
			r.wantExempt("a renewal", a.ID, "a.test")
		}
		// For twice as long as one of 20 in half a life of four seconds.
		for start := time.Now(); time.Since(start) < 200*time.Millisecond && !t.Failed(); {
			r.wantOwed("one more", a.ID, "a.test")
		}
	}},
	{"a renewal that is refused by another limit is not counted", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		r := &renewer{t: t, store: s, issuer: NewIssuer(t, s), limit: perHour(acme.OrdersPerAccount, "x", 1)}
		r.limit.Renewal = acme.Renewal{Names: acme.NameSet{1}, Lifetime: time.Hour}
		for range 2 { // by a look, and by the lock of those at once
			taken, _ := crowd(t, 40, func() error {
				o, made := NewReadyOrder(a.ID, "a.test")
				_, err := s.CreateOrder(t.Context(), By(a.ID), o, made, []acme.Spend{r.limit, atOnceOf(a.ID, 10)})
				return err
			})
			if taken > 10 {
				t.Errorf("made %d; want at most 10 at once", taken)
			}
		}
		for range 10 {
			r.wantExempt("one of the ten that are left", a.ID, "a.test")
		}
		if _, _, err := r.order(a.ID, "a.test"); err != nil {
			t.Errorf("what any order has: %v", err)
		}
		r.wantOwed("the renewals are used up", a.ID, "a.test")
	}},
}
