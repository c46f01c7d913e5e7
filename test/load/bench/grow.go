package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// growth is a bench on a database that has grown.
type growth struct {
	turns
	rows  int
	grown string // the URL of the database
}

// runGrow measures this server on a new database and on one that has issued many
// certificates, in turn, and prints what that costs.
func runGrow(ctx context.Context, args []string) error {
	g := &growth{}
	flags := g.flags("bench grow")
	flags.IntVar(&g.rows, "rows", 10_000_000, "how many certificates were issued before, each with an order and an authorization; a million takes 1.2 GB")
	if err := flags.Parse(args); err != nil {
		return err
	}
	g.prepare, g.compare = g.grow, g.compareDatabases
	g.conditions = []string{newDatabase, grownDatabase}
	g.note = fmt.Sprintf(", %d workers, with %d certificates in the grown database", few, g.rows)
	return g.run(ctx)
}

// grow makes the database, which goes with the lab.
func (g *growth) grow(ctx context.Context, l *lab) (err error) {
	if g.grown, _, err = l.postgres.NewDatabase(); err != nil {
		return err
	}
	return g.fill(ctx, g.grown)
}

// The two databases, as variations of the load.
const (
	newDatabase   = "new database"
	grownDatabase = "grown database"
)

// compareDatabases measures a configuration of this server once on each database.
func (g *growth) compareDatabases(ctx context.Context, l *lab, f *findings, c *contestant, binary string) error {
	for _, condition := range g.conditions {
		r := &running{lab: l, contestant: c, databaseURL: g.grown}
		if condition == newDatabase {
			var err error
			if r.databaseURL, r.drop, err = l.postgres.NewDatabase(); err != nil {
				return err
			}
		}
		if err := r.serve(ctx, binary, r.databaseURL); err != nil {
			return err
		}
		s, err := r.measure(ctx, generator.Config{Workers: few, Accounts: few}, g.warmup, g.duration)
		if err := errors.Join(err, r.end()); err != nil {
			return err
		}
		f.add(load{contestant: c, variation: condition}, s)
	}
	return nil
}

// fill migrates a database and puts into it what the issuance of many certificates
// leaves: those of a month, of a thousand accounts. Triggers are passed over, and
// indexes are made when the rows are there.
func (g *growth) fill(ctx context.Context, url string) error {
	if err := postgres.Migrate(ctx, postgres.Config{URL: url}); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `SET search_path = acme; SET session_replication_role = replica; SET synchronous_commit = off; SET maintenance_work_mem = '1GB'`); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	rows, err := conn.Query(ctx, secondaryIndexes)
	if err != nil {
		return fmt.Errorf("indexes: %w", err)
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Drop, Make string }])
	if err != nil {
		return fmt.Errorf("indexes: %w", err)
	}
	run := func(what, sql string) error {
		began := time.Now()
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		progress("  %s: %s", what, time.Since(began).Round(time.Second))
		return nil
	}
	var errs []error
	for _, index := range indexes {
		errs = append(errs, run("without "+index.Make, index.Drop))
	}
	for _, table := range tables {
		errs = append(errs, run("rows of "+table.name, g.issued(table.insert)))
	}
	for _, index := range indexes {
		errs = append(errs, run(index.Make, index.Make))
	}
	return errors.Join(append(errs, run("vacuum", `VACUUM ANALYZE`), run("checkpoint", `CHECKPOINT`))...)
}

// secondaryIndexes lists the indexes that are no primary key, by what drops and makes them.
const secondaryIndexes = `
	SELECT CASE WHEN c.oid IS NULL THEN format('DROP INDEX %I', i.relname) ELSE format('ALTER TABLE %I DROP CONSTRAINT %I', t.relname, c.conname) END,
		CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.oid) ELSE format('ALTER TABLE %I ADD CONSTRAINT %I %s', t.relname, c.conname, pg_get_constraintdef(c.oid)) END
	FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
	LEFT JOIN pg_constraint c ON c.conindid = i.oid
	WHERE t.relnamespace = 'acme'::regnamespace AND t.relname IN ('orders', 'authorizations', 'certificates') AND NOT x.indisprimary`

// tables lists the tables that an issuance leaves rows in, and accounts, in their order.
var tables = []struct{ name, insert string }{
	{"accounts", `
		INSERT INTO accounts (id, status, key_thumbprint, key, contact, terms_agreed, created_at)
		SELECT {account}, 'valid', sha256(('grown ' || n)::bytea), '{}', '{}', true, now() - interval '1 month'
		FROM generate_series(0, 999) n`},
	{"orders", `
		INSERT INTO orders (id, account_id, status, identifiers, authorization_ids, profile, expires_at, created_at)
		SELECT {order}, {account}, 'valid', json_build_array(json_build_object('type', 'dns', 'value', n || '.grown.load.test')),
			ARRAY[{authorization}], 'tlsserver', now() + interval '1 day', now()
		FROM generate_series(0, {rows} - 1) n`},
	{"authorizations", `
		INSERT INTO authorizations (id, account_id, order_id, identifier_type, identifier_value, wildcard, status, token,
			challenge_types, challenge_type, validated_at, attempts, expires_at, created_at)
		SELECT {authorization}, {account}, {order}, 'dns', n || '.grown.load.test', false, 'valid', left(md5(n::text), 22),
			'{http-01,dns-01,tls-alpn-01}', 'http-01', now(), 1, now() + interval '1 day', now()
		FROM generate_series(0, {rows} - 1) n`},
	{"certificates", `
		INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, issued_at, name_set)
		SELECT {order}, {account}, decode({time} || left(md5(n::text), 20), 'hex'), substr(sha256(''), 1, 16),
			decode(repeat(md5(n::text), 38), 'hex'), now() - interval '1 month' * (1 - n / {rows}.0),
			now() + interval '2 months' + interval '1 month' * (n / {rows}.0), now(), substr(sha256(n::text::bytea), 1, 16)
		FROM generate_series(0, {rows} - 1) n`},
}

// issued completes an INSERT. The IDs of the row n are those of version 7 of the last
// month, in their order, and serial numbers begin with the same time; a digit tells orders
// from authorizations.
func (g *growth) issued(insert string) string {
	rows := strconv.Itoa(g.rows)
	milliseconds := `lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 2592000000 + n * 2592000000::bigint / ` + rows + `), 12, '0')`
	id := `(` + milliseconds + ` || '7000' || '%s000' || lpad(to_hex(n), 12, '0'))::uuid`
	return strings.NewReplacer(
		"{rows}", rows, "{time}", milliseconds,
		"{order}", fmt.Sprintf(id, "8"), "{authorization}", fmt.Sprintf(id, "9"),
		"{account}", `('00000000-0000-7000-8000-' || lpad(to_hex(n % 1000), 12, '0'))::uuid`,
	).Replace(insert)
}
