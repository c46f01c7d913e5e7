package acmetest_test

import (
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

func TestTheStoreInMemoryIsAStore(t *testing.T) {
	t.Parallel()
	acmetest.TestStore(t, func(*testing.T) acmetest.Store { return acmetest.NewMemory() })
}
