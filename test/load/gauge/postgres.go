package gauge

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Database is what a Postgres has counted so far.
type Database struct {
	// Commits of transactions in the database, those that wait for no disk included.
	Commits int64
	// Syncs is how often the log was written through to the disk, by the whole server:
	// where one client commits at a time, once for each commit that waits for it.
	Syncs int64
	// WAL is the length of the log so far, in bytes.
	WAL int64
}

// Sub returns what was counted since before.
func (d Database) Sub(before Database) Database {
	return Database{Commits: d.Commits - before.Commits, Syncs: d.Syncs - before.Syncs, WAL: d.WAL - before.WAL}
}

// Before Postgres 18 the syncs of the log are in pg_stat_wal.
const (
	countersSince18 = `
		SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
			(SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'),
			pg_current_wal_insert_lsn() - '0/0'::pg_lsn`
	countersBefore18 = `
		SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
			(SELECT wal_sync FROM pg_stat_wal),
			pg_current_wal_insert_lsn() - '0/0'::pg_lsn`
)

// ReadDatabase asks a database what it has counted. What a connection does is counted
// when it ends ([AwaitIdle]), or else up to some seconds late.
func ReadDatabase(ctx context.Context, url string) (Database, error) {
	var d Database
	err := withConnection(ctx, url, func(conn *pgx.Conn) error {
		var version int
		if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
			return err
		}
		query := countersSince18
		if version < 180000 {
			query = countersBefore18
		}
		return conn.QueryRow(ctx, query).Scan(&d.Commits, &d.Syncs, &d.WAL)
	})
	if err != nil {
		return Database{}, fmt.Errorf("counters of Postgres: %w", err)
	}
	return d, nil
}

// AwaitIdle waits until nobody is connected to a database, so that what connections of
// before have done is counted. It is a commit itself, and one only.
func AwaitIdle(ctx context.Context, url string) error {
	return withConnection(ctx, url, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `DO $$ BEGIN
			WHILE EXISTS (
				SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
			) LOOP
				PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
			END LOOP;
		END $$`)
		if err != nil {
			return fmt.Errorf("connections to a database: %w", err)
		}
		return nil
	})
}

// Postmaster returns the first process of the Postgres that serves a URL, which must
// run on this host; the others are its children.
func Postmaster(ctx context.Context, url string) (int, error) {
	var parent int
	err := withConnection(ctx, url, func(conn *pgx.Conn) error {
		backend, err := readProcess(int(conn.PgConn().PID()))
		parent = backend.parent
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("the process of Postgres, which must run on this host: %w", err)
	}
	return parent, nil
}

// withConnection calls f with a connection.
func withConnection(ctx context.Context, url string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is left to be said
	return f(conn)
}
