package postgres_test

import (
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

// atDefaults are settings of a database by which neither limits would be exact nor
// commits last.
const atDefaults = `
DO $$ BEGIN
	EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''', current_database());
	EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
END $$`

func TestWhatADatabaseHasAsItsDefaultsDoesNotMatter(t *testing.T) {
	t.Parallel()
	address := postgrestest.URL(t)
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), atDefaults); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, commit string }{
		{address, "on"}, {withParameter(t, address, "synchronous_commit", "remote_apply"), "remote_apply"},
	} {
		store := postgrestest.Open(t, postgres.Config{URL: tt.url, AcquireTimeout: time.Minute})
		isolation, commit := postgres.SessionOf(t, store)
		if isolation != "read committed" || commit != tt.commit {
			t.Errorf("sessions are %s, and commits wait for %s; want read committed and %s", isolation, commit, tt.commit)
		}
	}
	wantExact(t, postgrestest.Open(t, postgres.Config{URL: address, AcquireTimeout: time.Minute}))
}

// withParameter adds a parameter to a URL.
func withParameter(t *testing.T, address, name, value string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// wantExact makes more orders at once than there may be.
func wantExact(t *testing.T, store *postgres.Store) {
	t.Helper()
	a, _, _, err := store.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	spend := []acme.Spend{{Limit: acme.OrdersPerAccount, Subject: "x", Of: acme.Limit{Count: 10, Period: time.Hour}}}
	answers := make([]error, 50)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			o, made := acmetest.NewOrder(a.ID, "a.test")
			_, answers[i] = store.CreateOrder(t.Context(), acmetest.By(a.ID), o, made, spend)
		})
	}
	all.Wait()
	made := 0
	for _, err := range answers {
		if _, refused := errors.AsType[*acme.LimitError](err); err != nil && !refused {
			t.Errorf("error %v; want an order, or that it is refused by the limit", err)
		} else if err == nil {
			made++
		}
	}
	if made != 10 {
		t.Errorf("made %d; want 10", made)
	}
}
