package postgres_test

import (
	"testing"

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
