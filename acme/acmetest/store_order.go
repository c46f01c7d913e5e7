package acmetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

var orderTests = []storeTest{
	{"an order and its authorizations are read back as they were created", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		o, authorizations := NewOrder(a.ID, "*.example.test", "a.example.test")
		o.Replaces, o.NotBefore, o.NotAfter = "aki.serial", now(), now().Add(time.Minute)
		add(t, s, o, authorizations)
		if diff := cmp.Diff(o, mustOrder(t, s, o)); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		for _, want := range authorizations {
			if diff := cmp.Diff(want, mustAuthorization(t, s, a.ID, want.ID)); diff != "" {
				t.Errorf("authorization (-want +got):\n%s", diff)
			}
		}
	}},
	{"an order for an address is one", func(t *testing.T, s Store) {
		o, authorizations := NewOrder(addAccount(t, s).ID, "192.0.2.1")
		o.Identifiers[0].Type, authorizations[0].Identifier.Type = acme.IP, acme.IP
		add(t, s, o, authorizations)
		if diff := cmp.Diff(o, mustOrder(t, s, o)); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	}},
	{"an order that no account made is refused", func(t *testing.T, s Store) {
		o, authorizations := NewOrder(acme.NewID(), "a.test")
		wantError(t, CreateOrder(t.Context(), s, o, authorizations), acme.ErrNotFound)
	}},
	{"an order of a deactivated account is refused, with its authorizations", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		if _, err := s.DeactivateAccount(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		o, authorizations := NewOrder(a.ID, "a.test")
		wantState(t, CreateOrder(t.Context(), s, o, authorizations), "account", "deactivated")
		_, err := s.Authorization(t.Context(), By(a.ID), authorizations[0].ID)
		wantError(t, err, acme.ErrNotFound)
	}},
	{"an order and its authorizations are found by their account only", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		o, authorizations := NewOrder(a.ID, "a.test")
		add(t, s, o, authorizations)
		_, err := s.Order(t.Context(), By(other.ID), o.ID)
		wantError(t, err, acme.ErrNotFound)
		_, err = s.Order(t.Context(), By(a.ID), acme.NewID())
		wantError(t, err, acme.ErrNotFound)
		_, err = s.Authorization(t.Context(), By(other.ID), authorizations[0].ID)
		wantError(t, err, acme.ErrNotFound)
		_, err = s.Authorization(t.Context(), By(a.ID), acme.NewID())
		wantError(t, err, acme.ErrNotFound)
	}},
	{"an order uses a valid authorization again", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		first := provedOrder(t, s, a.ID, "a.test")
		second, _ := NewReadyOrder(a.ID, "a.test")
		second.Authorizations = first.Authorizations
		add(t, s, second, nil)
		if diff := cmp.Diff(second, mustOrder(t, s, second)); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	}},
	{"an order does not use an authorization again that it may not", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		pending, made := NewOrder(a.ID, "pending.test")
		add(t, s, pending, made)
		foreign := provedOrder(t, s, other.ID, "foreign.test")
		expired, made := NewOrder(a.ID, "expired.test")
		add(t, s, expired, made)
		v := startedOf(t, s, made[0], lease)
		v.Until = now().Add(-time.Minute)
		if _, err := s.RecordValidation(t.Context(), v, nil, nil); err != nil {
			t.Fatal(err)
		}
		trusted, made := NewReadyOrder(a.ID, "trusted.test")
		add(t, s, trusted, made)
		for _, from := range []*acme.Order{pending, foreign, expired, trusted} {
			o, _ := NewReadyOrder(a.ID, "a.test")
			o.Authorizations = from.Authorizations
			wantState(t, CreateOrder(t.Context(), s, o, nil), "authorization", "not valid")
		}
	}},
}

// finalize finalizes an order with a certificate of the issuer.
func finalize(t testing.TB, s Store, o *acme.Order, issuer acme.IssuerID) (*acme.Order, error) {
	t.Helper()
	return s.FinalizeOrder(t.Context(), By(o.AccountID), acme.Finalization{OrderID: o.ID, Key: acme.Thumbprint{1}},
		issues(issuer))
}

// issues makes certificates of an issuer.
func issues(issuer acme.IssuerID) acme.IssueFunc {
	return func(context.Context, *acme.Order) (*acme.Certificate, error) { return NewCertificate(issuer), nil }
}

// finalized returns a valid order.
func finalized(t testing.TB, s Store, issuer acme.IssuerID, account acme.ID) *acme.Order {
	t.Helper()
	o, made := NewReadyOrder(account, "valid.test")
	add(t, s, o, made)
	valid, err := finalize(t, s, o, issuer)
	if err != nil {
		t.Fatalf("FinalizeOrder: %v", err)
	}
	return valid
}

// refusesToIssue fails a test in which it is called.
func refusesToIssue(t *testing.T) acme.IssueFunc {
	return func(context.Context, *acme.Order) (*acme.Certificate, error) {
		t.Error("issue was called")
		return nil, errors.New("not to be called")
	}
}

var finalizationTests = []storeTest{
	{"a ready order becomes valid with the certificate that was issued", func(t *testing.T, s Store) {
		issuer, a := NewIssuer(t, s), addAccount(t, s)
		o, made := NewReadyOrder(a.ID, "a.test", "b.test")
		add(t, s, o, made)
		want := NewCertificate(issuer)
		got, err := s.FinalizeOrder(t.Context(), By(a.ID), acme.Finalization{OrderID: o.ID},
			func(_ context.Context, given *acme.Order) (*acme.Certificate, error) {
				if diff := cmp.Diff(o, given); diff != "" {
					t.Errorf("order given to issue (-want +got):\n%s", diff)
				}
				return want, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		o.Status = acme.OrderValid
		for _, got := range []*acme.Order{got, mustOrder(t, s, o)} {
			if diff := cmp.Diff(o, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		}
		want.ID, want.AccountID = o.ID, a.ID
		c, err := s.Certificate(t.Context(), By(a.ID), want.ID)
		if diff := cmp.Diff(want, c); err != nil || diff != "" {
			t.Errorf("error %v, certificate (-want +got):\n%s", err, diff)
		}
		c, err = s.CertificateBySerial(t.Context(), want.Serial)
		if diff := cmp.Diff(want, c); err != nil || diff != "" {
			t.Errorf("error %v, certificate by its serial number (-want +got):\n%s", err, diff)
		}
	}},
	{"a certificate has the ID of its order, and gets a time where it has none", func(t *testing.T, s Store) {
		issuer, a := NewIssuer(t, s), addAccount(t, s)
		o, made := NewReadyOrder(a.ID, "a.test")
		add(t, s, o, made)
		c := NewCertificate(issuer)
		c.IssuedAt = time.Time{}
		valid, err := s.FinalizeOrder(t.Context(), By(a.ID), acme.Finalization{OrderID: o.ID},
			func(context.Context, *acme.Order) (*acme.Certificate, error) { return c, nil })
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Certificate(t.Context(), By(a.ID), valid.ID)
		if err != nil || got.IssuedAt.IsZero() {
			t.Errorf("certificate %v, error %v; want one with a time", got, err)
		}
	}},
	{"a certificate is found by its account only", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		valid := finalized(t, s, NewIssuer(t, s), a.ID)
		_, err := s.Certificate(t.Context(), By(other.ID), valid.ID)
		wantError(t, err, acme.ErrNotFound)
		_, err = s.Certificate(t.Context(), By(a.ID), acme.NewID())
		wantError(t, err, acme.ErrNotFound)
	}},
	{"a valid order is returned, and nothing is issued", func(t *testing.T, s Store) {
		valid := finalized(t, s, NewIssuer(t, s), addAccount(t, s).ID)
		again, err := s.FinalizeOrder(t.Context(), By(valid.AccountID), acme.Finalization{OrderID: valid.ID}, refusesToIssue(t))
		if diff := cmp.Diff(valid, again); err != nil || diff != "" {
			t.Errorf("error %v, order (-want +got):\n%s", err, diff)
		}
	}},
	{"of 50 that finalize an order at once, one issues and all get its certificate", func(t *testing.T, s Store) {
		issuer, a := NewIssuer(t, s), addAccount(t, s)
		o, made := NewReadyOrder(a.ID, "a.test")
		add(t, s, o, made)
		var issued atomic.Int32
		serials := make([]acme.Serial, 50)
		atOnce(len(serials), func(i int) {
			got, err := s.FinalizeOrder(t.Context(), By(a.ID), acme.Finalization{OrderID: o.ID},
				func(context.Context, *acme.Order) (*acme.Certificate, error) {
					issued.Add(1)
					return NewCertificate(issuer), nil
				})
			if err != nil {
				t.Error(err)
				return
			}
			c, err := s.Certificate(t.Context(), By(a.ID), got.ID)
			if err != nil {
				t.Error(err)
				return
			}
			serials[i] = c.Serial
		})
		if n := issued.Load(); n != 1 {
			t.Errorf("issued %d times; want once", n)
		}
		for _, serial := range serials {
			if serial != serials[0] || serial == (acme.Serial{}) {
				t.Fatalf("certificates %s and %s; want one", serial, serials[0])
			}
		}
	}},
	{"an error of issue is returned and leaves the order ready", func(t *testing.T, s Store) {
		issuer, a := NewIssuer(t, s), addAccount(t, s)
		o, made := NewReadyOrder(a.ID, "a.test")
		add(t, s, o, made)
		broken := errors.New("the key is away")
		_, err := s.FinalizeOrder(t.Context(), By(a.ID), acme.Finalization{OrderID: o.ID},
			func(context.Context, *acme.Order) (*acme.Certificate, error) { return nil, broken })
		if err != broken { //nolint:errorlint // as it is
			t.Errorf("error %v; want that of issue as it is", err)
		}
		if diff := cmp.Diff(o, mustOrder(t, s, o)); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		if _, err := finalize(t, s, o, issuer); err != nil {
			t.Errorf("the next attempt: %v", err)
		}
	}},
	{"a certificate of an issuer that is not registered is refused, and the order stays ready", func(t *testing.T, s Store) {
		o, made := NewReadyOrder(addAccount(t, s).ID, "a.test")
		add(t, s, o, made)
		if _, err := finalize(t, s, o, acme.IssuerID{1}); err == nil {
			t.Error("no error")
		}
		if got := mustOrder(t, s, o); got.Status != acme.OrderReady {
			t.Errorf("order is %s; want it ready", got.Status)
		}
	}},
	{"a serial is never recorded twice", func(t *testing.T, s Store) {
		issuer, a := NewIssuer(t, s), addAccount(t, s)
		c := NewCertificate(issuer)
		var err error
		for range 2 {
			o, made := NewReadyOrder(a.ID, "a.test")
			add(t, s, o, made)
			again := *c
			again.ID = acme.NewID()
			_, err = s.FinalizeOrder(t.Context(), By(a.ID), acme.Finalization{OrderID: o.ID},
				func(context.Context, *acme.Order) (*acme.Certificate, error) { return &again, nil })
		}
		if err == nil {
			t.Error("no error the second time")
		}
	}},
	{"an order that is not ready is not finalized", func(t *testing.T, s Store) {
		a := addAccount(t, s)
		pending, made := NewOrder(a.ID, "a.test")
		add(t, s, pending, made)
		f := acme.Finalization{OrderID: pending.ID}
		_, err := s.FinalizeOrder(t.Context(), By(a.ID), f, refusesToIssue(t))
		wantState(t, err, "order", "pending")
		if _, err := s.DeactivateAuthorization(t.Context(), a.ID, made[0].ID); err != nil {
			t.Fatal(err)
		}
		_, err = s.FinalizeOrder(t.Context(), By(a.ID), f, refusesToIssue(t))
		wantState(t, err, "order", "invalid")
	}},
	{"an order that has expired is not finalized", func(t *testing.T, s Store) {
		o, made := NewReadyOrder(addAccount(t, s).ID, "a.test")
		o.ExpiresAt = now().Add(-time.Second)
		add(t, s, o, made)
		_, err := s.FinalizeOrder(t.Context(), By(o.AccountID), acme.Finalization{OrderID: o.ID}, refusesToIssue(t))
		wantState(t, err, "order", "expired")
	}},
	{"an order is finalized by its account only", func(t *testing.T, s Store) {
		o, made := NewReadyOrder(addAccount(t, s).ID, "a.test")
		add(t, s, o, made)
		_, err := s.FinalizeOrder(t.Context(), By(addAccount(t, s).ID), acme.Finalization{OrderID: o.ID}, refusesToIssue(t))
		wantError(t, err, acme.ErrNotFound)
		_, err = s.FinalizeOrder(t.Context(), By(o.AccountID), acme.Finalization{OrderID: acme.NewID()}, refusesToIssue(t))
		wantError(t, err, acme.ErrNotFound)
	}},
	{"an order that was ready without any proof is finalized where none is asked for", func(t *testing.T, s Store) {
		a, issuer := addAccount(t, s), NewIssuer(t, s)
		trusted := add2(t, s)(NewReadyOrder(a.ID, "a.test"))
		proved := provedOrder(t, s, a.ID, "a.test")
		again, _ := NewReadyOrder(a.ID, "a.test")
		again.Authorizations = proved.Authorizations
		add(t, s, again, nil)
		f := acme.Finalization{OrderID: trusted.ID, Proved: true}
		_, err := s.FinalizeOrder(t.Context(), By(a.ID), f, refusesToIssue(t))
		wantState(t, err, "order", acme.OrderUnproved)
		f.Proved = false
		if _, err := s.FinalizeOrder(t.Context(), By(a.ID), f, issues(issuer)); err != nil {
			t.Error(err)
		}
		for _, o := range []*acme.Order{proved, again} {
			if _, err := s.FinalizeOrder(t.Context(), By(a.ID), acme.Finalization{OrderID: o.ID, Proved: true}, issues(issuer)); err != nil {
				t.Errorf("with a proof: %v", err)
			}
		}
	}},
	{"the key of an account, its own or another's, is not certified", func(t *testing.T, s Store) {
		a, other := addAccount(t, s), addAccount(t, s)
		issuer := NewIssuer(t, s)
		for _, holder := range []*acme.Account{a, other} {
			key, err := acme.ThumbprintOf(holder.Key)
			if err != nil {
				t.Fatal(err)
			}
			o, made := NewReadyOrder(a.ID, "a.test")
			add(t, s, o, made)
			for range 2 { // what was refused once is refused again
				_, err = s.FinalizeOrder(t.Context(), By(a.ID), acme.Finalization{OrderID: o.ID, Key: key}, issues(issuer))
				wantError(t, err, acme.ErrKeyInUse)
				_, err = s.Certificate(t.Context(), By(a.ID), o.ID)
				wantError(t, err, acme.ErrNotFound)
			}
			if got := mustOrder(t, s, o); got.Status != acme.OrderReady {
				t.Errorf("the order is %s; want it ready", got.Status)
			}
		}
	}},
	{"a deactivation and a finalization at once leave nothing ready", func(t *testing.T, s Store) {
		issuer, a := NewIssuer(t, s), addAccount(t, s)
		o, made := NewReadyOrder(a.ID, "a.test")
		add(t, s, o, made)
		var issued error
		atOnce(2, func(i int) {
			if i == 0 {
				_, issued = finalize(t, s, o, issuer)
			} else if _, err := s.DeactivateAccount(t.Context(), a.ID); err != nil {
				t.Error(err)
			}
		})
		want := acme.OrderValid
		if issued != nil {
			want = acme.OrderInvalid
		}
		if got := mustOrder(t, s, o); got.Status != want {
			t.Errorf("order is %s, error %v; want it %s", got.Status, issued, want)
		}
	}},
}
