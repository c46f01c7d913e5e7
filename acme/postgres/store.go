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
	DefaultAcquireTimeout   = 5 * time.Second
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
	// AcquireTimeout bounds the wait for a connection, while all are in use or one is
	// being made: whoever has waited for so long is better told to come back. Default
	// [DefaultAcquireTimeout].
	AcquireTimeout time.Duration
	// Logger is told of connections that were lost; default [slog.Default].
	Logger *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Store keeps the objects of one server in one schema. It is safe for use by
// several goroutines, and several replicas may have one on the same schema. What it
// remembers (orderMemory) only saves a look: nothing is done without the database.
type Store struct {
	pool    *pgxpool.Pool
	metrics *metrics
	timeouts
	memory *orderMemory
	// migrated is true once the schema was seen to have what this code needs.
	migrated atomic.Bool
	// answered is when the database last did what it was asked, in Unix nanoseconds.
	answered atomic.Int64
	// claimed is the account of a validation that was claimed last: the next claim
	// begins after it.
	claimed atomic.Pointer[acme.ID]
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
	return open(ctx, cfg, pc)
}

// open returns a store with a pool of the configuration.
func open(ctx context.Context, cfg Config, pc *pgxpool.Config) (*Store, error) {
	memory, err := newOrderMemory()
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
	return &Store{pool: pool, metrics: m, timeouts: timeoutsOf(cfg), memory: memory}, nil
}

// Close ends the connections, after those in use were given back.
func (s *Store) Close() { s.pool.Close() }

// send runs the statements of b in one round trip and one transaction, which is
// rolled back where one of them fails. Their callbacks have run when it returns.
func (s *Store) send(ctx context.Context, what string, b *pgx.Batch) error {
	defer s.metrics.observe(what, time.Now())
	err := s.lend(ctx, func(conn *pgxpool.Conn) error { return s.roundTrip(ctx, conn, b) })
	return s.metrics.count(what, storeError(what, err))
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
