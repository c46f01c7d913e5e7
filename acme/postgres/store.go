package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// The defaults of [Config].
const (
	DefaultSchema           = "acme"
	DefaultMaxConnections   = 10
	DefaultStatementTimeout = 5 * time.Second
)

// Config tells where the database is and how much of it to use.
type Config struct {
	// URL is a connection URI (postgresql://…) or a keyword/value string of libpq.
	// It must lead to Postgres itself or to a pooler in session mode: the schema
	// and the timeouts are parameters of the session.
	URL string
	// RootCAs has certificates in PEM. Where there are any, the connection is
	// encrypted and the server's certificate must be theirs and have the host's
	// name (sslmode verify-full), whatever the URL says.
	RootCAs []byte
	// Schema is the Postgres schema; default [DefaultSchema].
	Schema string
	// MaxConnections bounds the pool; default [DefaultMaxConnections].
	MaxConnections int32
	// StatementTimeout bounds each statement, its wait for locks included, and how
	// long a transaction of a server that hangs is kept open; default
	// [DefaultStatementTimeout].
	StatementTimeout time.Duration
	// Logger is told of connections that were lost; default [slog.Default].
	Logger *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Store keeps the objects of one server in one schema. It is safe for use by
// several goroutines, and several replicas may have one on the same schema.
type Store struct {
	pool    *pgxpool.Pool
	metrics *metrics
	// migrated is true once the schema was seen to have what this code needs.
	migrated atomic.Bool
}

// New returns a store. It does not wait for the database: one that cannot be
// reached now is tried again at each call, so a server may start before it. An
// error is one of the configuration, and has nothing of the URL's password.
func New(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	pc, err := poolConfig(cfg)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("database pool: %w", err)
	}
	m, err := newMetrics(cfg.Registerer, pool)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &Store{pool: pool, metrics: m}, nil
}

// Close ends the connections, after those in use were given back.
func (s *Store) Close() { s.pool.Close() }

// Ping asks whether requests can be served now: the database answers, may be
// written to, and its schema has all migrations that this code needs. One round trip.
func (s *Store) Ping(ctx context.Context) error {
	b := &pgx.Batch{}
	var readOnly bool
	b.Queue(`SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean`).
		QueryRow(func(row pgx.Row) error { return row.Scan(&readOnly) })
	if err := s.send(ctx, "ping", b); err != nil {
		return err
	}
	if readOnly {
		return fmt.Errorf("ping: the database is read-only: %w", acme.ErrUnavailable)
	}
	return s.checkSchema(ctx)
}

// checkSchema asks for the schema's version until it was once sufficient:
// migrations only go forward.
func (s *Store) checkSchema(ctx context.Context) error {
	if s.migrated.Load() {
		return nil
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return storeError("check the schema", err)
	}
	defer conn.Release()
	current, err := schemaVersion(ctx, conn.Conn(), conn.Conn().Config().RuntimeParams["search_path"])
	if err != nil {
		return err
	}
	if wanted := wantedVersion(); current < wanted {
		return fmt.Errorf("the schema has version %d, not %d: run the migrations: %w", current, wanted, acme.ErrUnavailable)
	}
	s.migrated.Store(true)
	return nil
}

// send runs the statements of b in one round trip and one transaction, which is
// rolled back where one of them fails. Their callbacks have run when it returns.
func (s *Store) send(ctx context.Context, what string, b *pgx.Batch) error {
	defer s.metrics.observe(what, time.Now())
	return s.metrics.count(what, storeError(what, s.pool.SendBatch(ctx, b).Close()))
}

// unhurried is queued first in a transaction that may be forgotten in a crash of
// the database (some 600 ms of them, never a part of one): its commit does not
// wait for the disk.
func unhurried(b *pgx.Batch) {
	b.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
}

// optional runs scan on a row that may be missing, and reports whether it was there.
func optional(found *bool, scan func(pgx.Row) error) func(pgx.Row) error {
	return func(row pgx.Row) error {
		err := scan(row)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		*found = err == nil
		return err
	}
}

// changed returns a callback that tells whether a statement changed a row.
func changed(did *bool) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*did = tag.RowsAffected() > 0
		return nil
	}
}

// uuidOf returns the parameter for an ID, which is null where the ID is zero.
func uuidOf(id acme.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: !id.IsZero()} }

// uuidsOf returns the parameter for a list of IDs.
func uuidsOf(ids []acme.ID) []pgtype.UUID {
	list := make([]pgtype.UUID, len(ids))
	for i, id := range ids {
		list[i] = uuidOf(id)
	}
	return list
}

// idsOf is the inverse of uuidsOf.
func idsOf(list []pgtype.UUID) []acme.ID {
	ids := make([]acme.ID, len(list))
	for i, u := range list {
		ids[i] = u.Bytes
	}
	return ids
}

// timeOf returns the parameter for a time, which is null where the time is zero.
func timeOf(t time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()} }

// textOf returns the parameter for a text, which is null where the text is empty.
func textOf(s string) pgtype.Text { return pgtype.Text{String: s, Valid: s != ""} }
