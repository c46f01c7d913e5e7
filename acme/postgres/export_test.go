package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Traced returns a store whose batches a tracer is told of.
func Traced(t *testing.T, cfg Config, tracer pgx.QueryTracer) *Store {
	t.Helper()
	pc, err := poolConfig(cfg.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	pc.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(t.Context(), pc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	m, err := newMetrics(nil, pool)
	if err != nil {
		t.Fatal(err)
	}
	return &Store{pool: pool, metrics: m, timeouts: timeoutsOf(cfg.withDefaults())}
}
