package faults

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
	shared "github.com/acme-ca/acme-ca-operator/test/invariants"
)

// outcome is what a run has left: what the clients saw, and the database.
type outcome struct {
	*load
	exchanges []exchange
	db        *pgx.Conn
}

// invariants is the list of what must hold after any run, whatever happened in it.
var invariants = []struct {
	name  string
	check func(*outcome, context.Context) error
}{
	{"no delivered certificate is unrecorded", (*outcome).deliveredIsRecorded},
	{"every delivered certificate is valid by the clients' clock", (*outcome).deliveredIsValid},
	{"no order has two certificates", (*outcome).oneCertificateEach},
	{"no order is stuck", (*outcome).nothingIsStuck},
	{"no order that was acknowledged is lost", (*outcome).nothingIsLost},
	{"no nonce was taken twice", (*outcome).noncesAreTakenOnce},
	{"no limit was exceeded, and nothing was spent in vain", (*outcome).limitsAreExact},
	{"no answer but a certificate, a limit met, a nonce refused, or 503 with Retry-After", (*outcome).answersAreKnown},
	{"no replica went in and out of service more than once", (*outcome).readinessIsSteady},
}

// check holds the database and the clients' view against each other.
func (l *load) check(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	db, err := pgx.Connect(ctx, l.fleet.url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(ctx)
	o := &outcome{load: l, exchanges: l.recorder.all(), db: db}
	for _, invariant := range invariants {
		if err := invariant.check(o, ctx); err != nil {
			t.Errorf("%s: %v", invariant.name, err)
		}
	}
	if len(l.deliveries) == 0 {
		t.Error("no certificate was delivered: nothing was tried")
	}
}

// deliveredIsRecorded looks for every certificate that a client has.
func (o *outcome) deliveredIsRecorded(ctx context.Context) error {
	return shared.Recorded(ctx, o.db, o.deliveries)
}

// deliveredIsValid parses every certificate that a client has.
func (o *outcome) deliveredIsValid(context.Context) error {
	now := time.Now()
	for _, d := range o.deliveries {
		c, err := x509.ParseCertificate(d.DER)
		if err != nil {
			return fmt.Errorf("that of %s: %w", d.URL, err)
		}
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return fmt.Errorf("that of %s is valid from %s to %s, and it is %s", d.URL, c.NotBefore, c.NotAfter, now.UTC())
		}
	}
	return nil
}

// oneCertificateEach asks for orders with more certificates than one, or one that is
// not theirs.
func (o *outcome) oneCertificateEach(ctx context.Context) error {
	return shared.OneCertificateEach(ctx, o.db)
}

// nothingIsStuck asks for work that nobody does, and what clients had to give up.
func (o *outcome) nothingIsStuck(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.faults) > 0 {
		return fmt.Errorf("%d clients could not go on; the first: %w", len(o.faults), o.faults[0])
	}
	return shared.NothingIsStuck(ctx, o.db)
}

// nothingIsLost looks for every order that a client was told was made.
func (o *outcome) nothingIsLost(ctx context.Context) error {
	for _, e := range o.exchanges {
		if e.order == "" {
			continue
		}
		id, err := shared.IDOf(e.order)
		if err != nil {
			return err
		}
		var there bool
		if err := o.db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM acme.orders WHERE id = $1)`, [16]byte(id)).Scan(&there); err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%s, which was answered with %d, is not there", e.order, e.status)
		}
	}
	return nil
}

// noncesAreTakenOnce looks for a nonce of which two answers say that it was good.
func (o *outcome) noncesAreTakenOnce(context.Context) error {
	var answers []shared.Answer
	for _, e := range o.exchanges {
		answers = append(answers, shared.Answer{Route: e.route, Nonce: e.nonce, Status: e.status, Problem: e.problem})
	}
	return shared.NoncesAreTakenOnce(answers)
}

// limitsAreExact counts what the greedy have.
func (o *outcome) limitsAreExact(ctx context.Context) error {
	for _, of := range []struct {
		what  string
		query string
		most  int
	}{
		{"accounts", `SELECT count(*) FROM acme.accounts`, mostAccounts},
		{"orders of an account", `SELECT max(n) FROM (SELECT count(*) AS n FROM acme.orders WHERE identifiers::text LIKE '%.more.test%') o`, mostOrders},
		{"orders at once", `SELECT count(*) FROM acme.orders WHERE identifiers::text LIKE '%.at-once.test%'`, mostAtOnce},
	} {
		var n int
		if err := o.db.QueryRow(ctx, of.query).Scan(&n); err != nil {
			return err
		}
		if n != of.most {
			return fmt.Errorf("%d %s; want %d, the limit", n, of.what, of.most)
		}
	}
	return nil
}

// answersAreKnown looks for what no fault excuses.
func (o *outcome) answersAreKnown(context.Context) error {
	for i := range o.exchanges {
		e := &o.exchanges[i]
		switch {
		case e.status == 0, e.status < http.StatusBadRequest, e.problem == acme.BadNonce:
		case (e.status == http.StatusServiceUnavailable || e.problem == acme.RateLimited) && e.comeBack:
		default:
			return fmt.Errorf("%s was answered with %d %s (Retry-After: %t)", e.route, e.status, e.problem, e.comeBack)
		}
		if e.lost == "no answer" {
			return fmt.Errorf("%s was not answered within %s", e.route, e.ended.Sub(e.began).Round(time.Millisecond))
		}
	}
	return nil
}

// readinessIsSteady counts how often each replica became ready, or stopped being so.
func (o *outcome) readinessIsSteady(context.Context) error {
	for _, r := range o.fleet.replicas {
		if n := r.changes.Load(); n > 2 {
			return fmt.Errorf("server %d: %d changes", r.number, n)
		}
	}
	return nil
}
