package postgres_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

func TestMigrationsGoForwardOnceHoweverManyRunThem(t *testing.T) {
	t.Parallel()
	url := postgrestest.EmptyURL(t)
	for _, schema := range []string{"acme", `its "other" one`} {
		cfg := postgres.Config{URL: url, Schema: schema}
		store := postgrestest.Open(t, cfg)
		if err := store.Ping(t.Context()); !errors.Is(err, acme.ErrUnavailable) {
			t.Errorf("schema %s: Ping before the migrations: error %v; want that it is unavailable", schema, err)
		}
		wantPending(t, cfg, true)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := postgres.Migrate(t.Context(), cfg); err != nil {
					t.Errorf("schema %s: %v", schema, err)
				}
			})
		}
		all.Wait()
		wantPending(t, cfg, false)
		if err := postgres.Migrate(t.Context(), cfg); err != nil {
			t.Errorf("schema %s, once more: %v", schema, err)
		}
		if err := store.Ping(t.Context()); err != nil {
			t.Errorf("schema %s: Ping after the migrations: %v", schema, err)
		}
	}
}

// wantPending checks whether there is something to migrate.
func wantPending(t *testing.T, cfg postgres.Config, want bool) {
	t.Helper()
	pending, err := postgres.Pending(t.Context(), cfg)
	if err != nil || pending != want {
		t.Errorf("schema %s: pending %t, error %v; want %t", cfg.Schema, pending, err, want)
	}
}

func TestAskingForTheVersionWritesNothing(t *testing.T) {
	t.Parallel()
	url := postgrestest.EmptyURL(t)
	current, wanted, err := postgres.SchemaVersion(t.Context(), postgres.Config{URL: url})
	if err != nil || current != 0 || wanted < 1 {
		t.Errorf("version %d of %d, error %v; want 0 of at least 1", current, wanted, err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var exists bool
	if err := conn.QueryRow(t.Context(), `SELECT to_regnamespace('acme') IS NOT NULL`).Scan(&exists); err != nil || exists {
		t.Errorf("schema there: %t, error %v; want none", exists, err)
	}
}

// What is tried here no method does; the database would refuse it all the same.
func TestTheDatabaseRefusesWhatMustNotBe(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), postgrestest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), filled); err != nil {
		t.Fatal(err)
	}
	for sentence, statement := range map[string]string{
		"a valid order becomes pending again":             `UPDATE orders SET status = 'pending' WHERE status = 'valid'`,
		"a pending order becomes valid":                   `UPDATE orders SET status = 'valid' WHERE status = 'pending'`,
		"a ready order becomes valid without certificate": `UPDATE orders SET status = 'valid' WHERE status = 'ready'`,
		"an order is valid and has no certificate": `INSERT INTO orders (id, account_id, status, identifiers, authorization_ids, profile, expires_at, created_at)
	SELECT gen_random_uuid(), account_id, 'valid', '[]', authorization_ids, '', now(), now() FROM orders WHERE status = 'valid'`,
		"an order that is not invalid has an error":     `UPDATE orders SET error = '{}' WHERE status = 'ready'`,
		"a deactivated account becomes valid":           `UPDATE accounts SET status = 'valid' WHERE status = 'deactivated'`,
		"an invalid authorization becomes valid":        `UPDATE authorizations SET status = 'valid' WHERE status = 'invalid'`,
		"a valid authorization is queued":               `UPDATE authorizations SET due_at = now(), challenge_type = 'dns-01' WHERE status = 'valid'`,
		"a challenge that was not offered is attempted": `UPDATE authorizations SET due_at = now(), challenge_type = 'http-01' WHERE status = 'pending'`,
		"a certificate is changed":                      `UPDATE certificates SET der = 'x'`,
		"a certificate is revoked without reason":       `UPDATE certificates SET revoked_at = now()`,
		"a certificate that an order has is deleted":    `DELETE FROM certificates`,
		"an order gets a second certificate": `INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, revoked_at, revocation_reason, issued_at)
	SELECT id, account_id, 'fedcba9876543210', issuer_id, der, not_before, not_after, NULL, NULL, now() FROM certificates`,
		"an order has a state that there is not":             `UPDATE orders SET status = 'processing' WHERE status = 'pending'`,
		"an authorization has a state that there is not":     `UPDATE authorizations SET status = 'processing' WHERE status = 'pending'`,
		"an account has a state that there is not":           `UPDATE accounts SET status = 'asleep' WHERE status = 'valid'`,
		"an order needs no authorization":                    `UPDATE orders SET authorization_ids = '{}' WHERE status = 'ready'`,
		"an authorization is for what is no identifier":      `UPDATE authorizations SET identifier_type = 'email' WHERE status = 'pending'`,
		"a pending authorization is attempted and not due":   `UPDATE authorizations SET challenge_type = 'dns-01' WHERE status = 'pending'`,
		"an authorization that is not due is leased":         `UPDATE authorizations SET lease = gen_random_uuid() WHERE status = 'pending'`,
		"a certificate is revoked for a reason there is not": `UPDATE certificates SET revoked_at = now(), revocation_reason = 7`,
		"a certificate ends before it begins": `INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, issued_at)
	SELECT gen_random_uuid(), account_id, 'fedcba9876543210', issuer_id, der, now(), now() - interval '1 s', now() FROM certificates`,
		"a certificate has a short serial": `INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, issued_at)
	SELECT gen_random_uuid(), account_id, 'fedcba', issuer_id, der, now(), now(), now() FROM certificates`,
		"two accounts have one key":  `UPDATE accounts SET key_thumbprint = (SELECT key_thumbprint FROM accounts WHERE status = 'valid')`,
		"a revocation is taken back": `UPDATE certificates SET revoked_at = now(), revocation_reason = 1; UPDATE certificates SET revoked_at = NULL, revocation_reason = NULL`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err == nil {
			t.Errorf("%s: no error", sentence)
		}
	}
}

// filled is one object in each state that matters.
const filled = `
SET search_path = acme;
INSERT INTO accounts (id, status, key_thumbprint, key, contact, terms_agreed, external_account_id, created_at)
	SELECT gen_random_uuid(), s, sha256(s::bytea), '{}', '{}', true, NULL, now()
	FROM unnest(ARRAY['valid', 'deactivated']) s;
INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, revoked_at, revocation_reason, issued_at)
	VALUES (gen_random_uuid(), gen_random_uuid(), '0123456789abcdef', substr(sha256(''), 1, 16), '', now(), now(), NULL, NULL, now());
INSERT INTO orders SELECT CASE WHEN s = 'valid' THEN (SELECT id FROM certificates) ELSE gen_random_uuid() END,
	gen_random_uuid(), s, '[]', ARRAY[gen_random_uuid()], '', NULL, NULL, NULL, NULL, now(), now()
	FROM unnest(ARRAY['pending', 'ready', 'valid', 'invalid']) s;
INSERT INTO authorizations SELECT gen_random_uuid(), gen_random_uuid(), NULL, 'dns', 'a.test', false, s, '', '{dns-01}',
	NULL, NULL, NULL, NULL, NULL, 0, now(), now()
	FROM unnest(ARRAY['pending', 'valid', 'invalid']) s`
