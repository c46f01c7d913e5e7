package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Traced returns a store whose batches a tracer is told of.
func Traced(t *testing.T, cfg Config, tracer pgx.QueryTracer) *Store {
	t.Helper()
	cfg = cfg.withDefaults()
	pc, err := poolConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pc.ConnConfig.Tracer = tracer
	s, err := open(t.Context(), cfg, pc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Plan returns the plan that is kept of a statement in a session of the store, which is
// the same for whatever parameters.
func (s *Store) Plan(t *testing.T, sql string, parameters int) string {
	t.Helper()
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Conn().PgConn().Prepare(t.Context(), "planned", sql, nil); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	nulls := strings.Repeat(", NULL", parameters)
	if parameters > 0 {
		nulls = "(" + nulls[2:] + ")"
	}
	rows, err := conn.Query(t.Context(), "EXPLAIN EXECUTE planned"+nulls, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if _, err := conn.Exec(t.Context(), "DEALLOCATE planned"); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// SessionOf returns what a session of a store begins with.
func SessionOf(t *testing.T, s *Store) (isolation, commit string) {
	t.Helper()
	err := s.pool.QueryRow(t.Context(), `SELECT current_setting('transaction_isolation'), current_setting('synchronous_commit')`).
		Scan(&isolation, &commit)
	if err != nil {
		t.Fatal(err)
	}
	return isolation, commit
}
