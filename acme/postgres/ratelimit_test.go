package postgres_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
)

// A failure over its limit is neither refused nor a dry run, whatever the mode is.
func TestAFailureOverItsLimitIsNotCountedAsADryRun(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	store := postgrestest.Open(t, postgres.Config{URL: postgrestest.URL(t), Registerer: registry})
	a, _, _, err := store.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{false, true} {
		l := ratelimit.New(acme.RateLimitPolicy{DryRun: dry, Limits: map[acme.LimitName]acme.Limit{
			acme.FailedValidationsPerIdentifier: {Count: 1, Period: time.Hour},
		}})
		for range 2 {
			fail(t, store, a.ID, l)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "acme_store_limited_total" {
			t.Errorf("counted %v; want nothing", family.GetMetric())
		}
	}
}

// fail makes an order whose validation fails.
func fail(t *testing.T, store *postgres.Store, account acme.ID, l *ratelimit.Limiter) {
	t.Helper()
	o, made := acmetest.NewOrder(account, "a.test")
	if err := acmetest.CreateOrder(t.Context(), store, o, made); err != nil {
		t.Fatal(err)
	}
	_, v, err := store.StartValidation(t.Context(), acmetest.By(account), made[0].ID, acme.DNS01, time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	problem := acme.Problemf(acme.Connection, "refused")
	if _, err := store.RecordValidation(t.Context(), v, problem, l.FailedValidation(account, v.Identifier)); err != nil {
		t.Fatal(err)
	}
}
