package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

func TestAReplicaHearsOfThePolicyOfASchemaThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	address := postgrestest.URL(t)
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	first, err := postgrestest.Open(t, postgres.Config{URL: address}).SetRateLimitPolicy(t.Context(), acme.RateLimitPolicy{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `DROP SCHEMA acme CASCADE`); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), postgres.Config{URL: address}); err != nil {
		t.Fatal(err)
	}
	store := postgrestest.Open(t, postgres.Config{URL: address})
	if p, err := store.SyncRateLimitPolicy(t.Context(), "pod", first); err != nil || p != nil {
		t.Errorf("told of %v, error %v; want nothing before there is a policy", p, err)
	}
	if _, err := store.SetRateLimitPolicy(t.Context(), acme.RateLimitPolicy{LimitRenewals: true}); err != nil {
		t.Fatal(err)
	}
	if p, err := store.SyncRateLimitPolicy(t.Context(), "pod", first); err != nil || p == nil || !p.LimitRenewals {
		t.Errorf("told of %v, error %v; want the policy of now", p, err)
	}
}

// A controller says again and again what is in force: nobody waits for that, and
// nothing is written.
func TestAPolicyThatIsInForceIsSetWithoutALock(t *testing.T) {
	t.Parallel()
	address := postgrestest.URL(t)
	store := postgrestest.Open(t, postgres.Config{URL: address})
	p := acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{acme.OrdersPerAccount: {Count: 5, Period: time.Hour}}}
	first, err := store.SetRateLimitPolicy(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `BEGIN; SELECT FROM acme.rate_limit_policy FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if again, err := store.SetRateLimitPolicy(t.Context(), p); err != nil || again != first {
		t.Errorf("generation %d, error %v; want %d, while the row is locked", again, err, first)
	}
}
