package postgres_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

// The suite of all stores leaves this race to luck; here it is held open.
func TestAnOrderWaitsForTheDeactivationOfWhatItUsesAgain(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	store := postgrestest.Open(t, postgres.Config{URL: url})
	account, _, _, err := store.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	first, made := acmetest.NewReadyOrder(account.ID, "a.test")
	if err := acmetest.CreateOrder(t.Context(), store, first, made); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `BEGIN; UPDATE acme.authorizations SET status = 'deactivated'`); err != nil {
		t.Fatal(err)
	}

	second, _ := acmetest.NewReadyOrder(account.ID, "a.test")
	second.Authorizations = first.Authorizations
	created := make(chan error, 1)
	go func() { created <- acmetest.CreateOrder(t.Context(), store, second, nil) }()
	waitForLock(t, conn, created)
	if _, err := conn.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	var state *acme.StateError
	if err := <-created; !errors.As(err, &state) || state.ID != made[0].ID {
		t.Errorf("error %v; want that the authorization is not valid", err)
	}
}

// waitForLock waits until a statement waits for what conn has locked.
func waitForLock(t *testing.T, conn *pgx.Conn, ended <-chan error) {
	t.Helper()
	for {
		var waiting bool
		err := conn.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		if waiting {
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("it did not wait: error %v", err)
		default:
		}
	}
}
