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
	spend.Renewal = acme.NameSetOf(o.Identifiers)
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
		wantLimited(r.t, err, acme.OrdersPerAccount, time.Hour)
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
		r.wantExempt("once more before it is issued", a.ID, "a.test", "b.test")
		renewed := r.issue(next, time.Minute, time.Hour)
		r.wantOwed("the certificate is new", a.ID, "a.test", "b.test")
		if err := s.RevokeCertificate(t.Context(), renewed, 1); err != nil {
			t.Fatal(err)
		}
		r.wantExempt("it was revoked", a.ID, "a.test", "b.test")
	}},
}
