package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// migrationFiles are the steps of the schema. One that was released never changes,
// and the schema after it still serves the code before it: during an upgrade both
// are running.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// versionTable is where goose notes the steps that were taken, in our schema.
const versionTable = "goose_db_version"

// lockTimeout bounds how long a step may wait for a table, and so how long the
// statements of the servers queue behind it.
const lockTimeout = "5s"

// Migrate takes the schema forward to the version that this code needs, and makes
// it where there is none. One that is newer is left as it is. Of several at the
// same time one works and the others wait for it. Each step happens whole or not
// at all, so a migration that was interrupted is finished by the next.
func Migrate(ctx context.Context, cfg Config) (err error) {
	conn, cc, err := connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	schema := cfg.withDefaults().Schema
	// This lock, not that of goose, because it must be held when the schema and the
	// table of goose are made; and because waiting for it needs no polling.
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtextextended('acme migrate ' || $1, 0))`, schema); err != nil {
		return storeError("lock the schema", err)
	}
	if err := createSchema(ctx, conn, schema); err != nil {
		return storeError("create schema "+schema, err)
	}
	db := stdlib.OpenDB(*cc)
	defer func() { err = errors.Join(err, db.Close()) }()
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return storeError("migrate schema "+schema, err)
	}
	return nil
}

// SchemaVersion returns the version that the schema has, 0 where there is none, and
// the one that this code needs. It writes nothing.
func SchemaVersion(ctx context.Context, cfg Config) (current, wanted int64, err error) {
	conn, _, err := connect(ctx, cfg)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	current, err = schemaVersion(ctx, conn, pgx.Identifier{cfg.withDefaults().Schema}.Sanitize())
	return current, wantedVersion(), err
}

// Pending reports whether [Migrate] would do something. It writes nothing.
func Pending(ctx context.Context, cfg Config) (bool, error) {
	current, wanted, err := SchemaVersion(ctx, cfg)
	return current < wanted, err
}

// connect opens one connection for migrations: without a bound on statements,
// which may have to rewrite a table, but with one on their wait for locks.
func connect(ctx context.Context, cfg Config) (*pgx.Conn, *pgx.ConnConfig, error) {
	pc, err := poolConfig(cfg.withDefaults())
	if err != nil {
		return nil, nil, err
	}
	cc := pc.ConnConfig
	for _, name := range []string{"statement_timeout", "idle_in_transaction_session_timeout", "enable_seqscan"} {
		delete(cc.RuntimeParams, name)
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, nil, storeError("connect", err)
	}
	locking := cc.Copy()
	locking.RuntimeParams["lock_timeout"] = lockTimeout
	return conn, locking, nil
}

// createSchema makes the schema where there is none: a role that may not create
// one can still use one that was made for it.
func createSchema(ctx context.Context, conn *pgx.Conn, schema string) error {
	name := pgx.Identifier{schema}.Sanitize()
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT to_regnamespace($1) IS NOT NULL`, name).Scan(&exists); err != nil || exists {
		return err
	}
	_, err := conn.Exec(ctx, `CREATE SCHEMA `+name)
	return err
}

// schemaVersion reads the version of a schema, whose name is quoted; 0 where there
// is none.
func schemaVersion(ctx context.Context, conn *pgx.Conn, schema string) (version int64, err error) {
	table := schema + "." + versionTable
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&exists); err != nil || !exists {
		return 0, storeError("read schema version", err)
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+table+` WHERE is_applied`).Scan(&version)
	return version, storeError("read schema version", err)
}

// wantedVersion returns the version that this code needs: that of the last step.
func wantedVersion() (version int64) {
	files, _ := fs.Glob(migrationFiles, "migrations/*.sql") // the pattern is well formed
	for _, file := range files {
		n, _ := goose.NumericComponent(file) // a test reads every name
		version = max(version, n)
	}
	return version
}

// newProvider returns what runs the steps.
func newProvider(db *sql.DB) (*goose.Provider, error) {
	steps, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, steps,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return provider, nil
}
