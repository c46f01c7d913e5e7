package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// timeouts bound how long a call may take, however long the database is silent.
type timeouts struct {
	// acquire is that of the wait for a connection.
	acquire time.Duration
	// exchange is that of one round trip. The database ends its statements itself,
	// unless it hangs or is gone without a word: then its client has to.
	exchange time.Duration
}

// timeoutsOf returns the timeouts of a configuration.
func timeoutsOf(c Config) timeouts {
	return timeouts{acquire: c.AcquireTimeout, exchange: c.StatementTimeout + time.Second}
}

// errBusy says that there was no connection for as long as a call may wait.
var errBusy = errors.New("no connection is free")

// lend calls f with a connection, which must be as f found it when it returns, or else
// is closed.
func (s *Store) lend(ctx context.Context, f func(*pgxpool.Conn) error) error {
	conn, err := s.borrow(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return f(conn)
}

// borrow takes a connection, for which it waits no longer than is bearable: a queue
// that is let grow outlives what made it grow.
func (s *Store) borrow(ctx context.Context) (*pgxpool.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, s.acquire)
	defer cancel()
	conn, err := s.pool.Acquire(bounded)
	if err != nil && errors.Is(bounded.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w: %w", errBusy, err)
	}
	return conn, err
}

// roundTrip runs the statements of b on a connection. One that does not answer in
// time is closed.
func (s *Store) roundTrip(ctx context.Context, conn *pgxpool.Conn, b *pgx.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, s.exchange)
	defer cancel()
	err := conn.SendBatch(ctx, b).Close()
	if err == nil {
		s.answered.Store(time.Now().UnixNano())
	}
	return err
}

// lately is how long the word of the database is good for, while it cannot be asked for
// the crowd of those who ask it.
const lately = 2 * time.Second

// answers reports whether the database has lately done what it was asked.
func (s *Store) answers() bool { return time.Since(time.Unix(0, s.answered.Load())) < lately }

// Ping asks whether requests can be served now: the database answers, may be
// written to, and its schema has all migrations that this code needs. One round trip.
//
// Where all connections are busy for as long as it waits, and the database does what
// they ask of it, that is load and no fault of the database: a replica that was taken
// out of service for it would leave its load to the others, and they would follow.
func (s *Store) Ping(ctx context.Context) error {
	b := &pgx.Batch{}
	var readOnly bool
	b.Queue(`SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean`).
		QueryRow(func(row pgx.Row) error { return row.Scan(&readOnly) })
	switch err := s.send(ctx, "ping", b); {
	case errors.Is(err, errBusy) && s.answers():
		return nil
	case err != nil:
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
	var current int64
	err := s.lend(ctx, func(conn *pgxpool.Conn) (err error) {
		ctx, cancel := context.WithTimeout(ctx, s.exchange)
		defer cancel()
		current, err = schemaVersion(ctx, conn.Conn(), conn.Conn().Config().RuntimeParams["search_path"])
		return err
	})
	if err != nil {
		return storeError("check the schema", err)
	}
	if wanted := wantedVersion(); current < wanted {
		return fmt.Errorf("the schema has version %d, not %d: run the migrations: %w", current, wanted, acme.ErrUnavailable)
	}
	s.migrated.Store(true)
	return nil
}
