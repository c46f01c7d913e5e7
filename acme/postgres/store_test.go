package postgres_test

import (
	"context"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

// What every other package asks of a store, this one has. It is said here because
// they do not import each other.
var _ acmetest.Store = (*postgres.Store)(nil)

func TestTheStoreInPostgresIsAStore(t *testing.T) {
	t.Parallel()
	acmetest.TestStore(t, func(t *testing.T) acmetest.Store { return postgrestest.New(t) })
}

// turns are two replicas, of which one makes orders and has their challenges proved,
// and the other, which remembers nothing of them, does the rest.
type turns struct {
	*postgres.Store
	other *postgres.Store
}

func (s turns) FinalizeOrder(ctx context.Context, by *acme.Proof, f acme.Finalization, issue acme.IssueFunc) (*acme.Order, error) {
	return s.other.FinalizeOrder(ctx, by, f, issue)
}

func TestReplicasThatTakeTurnsAreAStore(t *testing.T) {
	t.Parallel()
	acmetest.TestStore(t, func(t *testing.T) acmetest.Store {
		url := postgrestest.URL(t)
		return turns{postgrestest.Open(t, postgres.Config{URL: url}), postgrestest.Open(t, postgres.Config{URL: url})}
	})
}

func TestAReplicaAttemptsNothingThatAnotherMade(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	one, other := postgrestest.Open(t, postgres.Config{URL: url}), postgrestest.Open(t, postgres.Config{URL: url})
	account, _, _, err := one.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	o, made := acmetest.NewOrder(account.ID, "a.test")
	if err := acmetest.CreateOrder(t.Context(), one, o, made); err != nil {
		t.Fatal(err)
	}
	by := acmetest.By(account.ID)
	if by.Key, err = acme.ThumbprintOf(account.Key); err != nil {
		t.Fatal(err)
	}
	a, err := other.Prove(t.Context(), by, made[0].ID, acme.DNS01, func(context.Context, *acme.Validation) bool {
		t.Error("it was attempted")
		return true
	})
	if a != nil || err != nil {
		t.Errorf("authorization %v, error %v; want none", a, err)
	}
}
