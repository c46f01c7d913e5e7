package postgres_test

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

// recorder keeps the statements that a store sends, each once.
type recorder struct {
	mu   sync.Mutex
	sent map[string][]any
}

// TraceBatchStart is called with each batch that is sent.
func (r *recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range data.Batch.QueuedQueries {
		r.sent[q.SQL] = q.Arguments
	}
	return ctx
}

// TraceQueryStart is called with each statement that is sent alone: none of a method.
func (*recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// What follows is of no interest.
func (*recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData)     {}
func (*recorder) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (*recorder) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// many is a database in which reading a whole table would be seen to.
const many = `
SET search_path = acme;
INSERT INTO accounts (id, status, key_thumbprint, key, contact, terms_agreed, external_account_id, created_at)
	SELECT gen_random_uuid(), 'valid', sha256(n::text::bytea), '{}', '{}', true, NULL, now()
	FROM generate_series(1, 20000) n;
INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, revoked_at, revocation_reason, issued_at)
	SELECT gen_random_uuid(), gen_random_uuid(), substr(sha256(n::text::bytea), 1, 16),
	substr(sha256(''), 1, 16), '', now(), now(), NULL, NULL, now() FROM generate_series(1, 20000) n;
INSERT INTO orders SELECT gen_random_uuid(), a.id, (ARRAY['pending', 'ready', 'invalid', 'invalid'])[1 + n % 4], '[]',
	ARRAY[gen_random_uuid()], '', NULL, NULL, NULL, NULL, now(), now()
	FROM (SELECT id, row_number() OVER () AS n FROM accounts) a, generate_series(1, 2);
INSERT INTO authorizations SELECT gen_random_uuid(), o.account_id, o.id, 'dns', 'a.test', false, 'pending', '', '{dns-01}',
	CASE WHEN n % 2 = 0 THEN 'dns-01' END, NULL, NULL, CASE WHEN n % 2 = 0 THEN now() + interval '1 hour' END, NULL, 0, now(), now()
	FROM (SELECT id, account_id, row_number() OVER () AS n FROM orders) o;
INSERT INTO nonces SELECT now(), gen_random_uuid() FROM generate_series(1, 20000);
INSERT INTO limits SELECT 'ordersPerAccount', n::text, now() - interval '1 day', 0, now() - interval '1 day' FROM generate_series(1, 20000) n;
ANALYZE accounts; ANALYZE certificates; ANALYZE orders; ANALYZE authorizations; ANALYZE nonces; ANALYZE limits`

// finished is the database of one that has issued for a while, when nothing is under way.
const finished = `
SET search_path = acme;
DELETE FROM orders WHERE status IN ('pending', 'ready');
UPDATE authorizations SET status = 'invalid', due_at = NULL WHERE status = 'pending';
DELETE FROM limits; DELETE FROM nonces;
ANALYZE accounts; ANALYZE certificates; ANALYZE orders; ANALYZE authorizations; ANALYZE nonces; ANALYZE limits`

// states are those of a database whose plans are looked at, each after the one before
// it. Of a table that a vacuum found empty Postgres knows that it is, which makes plans
// of their own: autovacuum comes when it will.
var states = []struct{ name, sql string }{
	{"new", `SET search_path = acme`},
	{"many", many},
	{"finished", finished},
	{"vacuumed", `VACUUM ANALYZE`},
}

// A plan is made for the tables as they were, and kept while they grow: so none may
// read a whole table or a whole index, whatever Postgres thinks of its size.
func TestNoStatementReadsAWholeTable(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	sent := &recorder{sent: map[string][]any{}}
	store := postgres.Traced(t, postgres.Config{URL: url, AcquireTimeout: time.Minute}, sent)
	exercise(t, store)
	if len(sent.sent) < 20 {
		t.Fatalf("%d statements were seen; want all of the store's", len(sent.sent))
	}
	for _, state := range states {
		if _, err := conn.Exec(t.Context(), state.sql); err != nil {
			t.Fatalf("%s: %v", state.name, err)
		}
		for sql, args := range sent.sent {
			if sql == "BEGIN" || sql == "COMMIT" {
				continue
			}
			checkPlan(t, state.name, sql, store.Plan(t, sql, len(args)))
		}
	}
}

// ofTable is a look at a table by an index.
var ofTable = regexp.MustCompile(`Index (?:Only )?Scan.* on (accounts|certificates|orders|authorizations|nonces|limits)\b`)

// wholeIndex returns the line of a plan that reads all of an index: there is no
// condition on the line below. The first entry of one, and no more, may be read.
func wholeIndex(plan string) string {
	lines := strings.Split(plan+"\n", "\n")
	for i, line := range lines[:len(lines)-1] {
		below := lines[i+1]
		first := i > 0 && strings.Contains(lines[i-1], "Limit") && !strings.Contains(below, "Filter")
		if ofTable.MatchString(line) && !strings.Contains(below, "Index Cond") && !first {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// checkPlan looks for what must not be in a plan.
func checkPlan(t *testing.T, state, sql, plan string) {
	t.Helper()
	for _, table := range []string{"accounts", "certificates", "orders", "authorizations", "nonces", "limits"} {
		if strings.Contains(plan, "Seq Scan on "+table+" ") {
			t.Errorf("%s: %s\nreads all of %s:\n%s", state, sql, table, plan)
		}
	}
	if line := wholeIndex(plan); line != "" {
		t.Errorf("%s: %s\nreads a whole index: %s\n%s", state, sql, line, plan)
	}
	for _, join := range []string{"Hash Join", "Merge Join", "Hash Left Join", "Merge Left Join", "Hash Anti Join", "Merge Anti Join"} {
		if strings.Contains(plan, join) {
			t.Errorf("%s: %s\nhas a %s:\n%s", state, sql, join, plan)
		}
	}
}

// exercise calls every method of a store.
func exercise(t *testing.T, s *postgres.Store) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a, _, _, err := s.CreateAccount(ctx, acmetest.NewAccount(t), nil)
	check(err)
	thumbprint, err := acme.ThumbprintOf(a.Key)
	check(err)
	_, err = s.AccountByKey(ctx, thumbprint)
	check(err)
	_, err = s.UpdateContact(ctx, a.ID, nil)
	check(err)
	for _, names := range [][]string{{"a.test"}, {"a.test", "b.test"}} {
		o, made := acmetest.NewOrder(a.ID, names...)
		check(acmetest.CreateOrder(ctx, s, o, made))
		by := acmetest.By(a.ID)
		by.Key = thumbprint
		proved, err := s.Prove(ctx, by, made[0].ID, acme.DNS01, func(context.Context, *acme.Validation) bool { return true })
		check(err)
		if proved == nil {
			t.Fatal("a first attempt was not recorded")
		}
	}
	_, err = s.Authenticate(ctx, acmetest.NewNonce(t, s), a.ID)
	check(err)
	issuer := acmetest.NewIssuer(t, s)
	_, err = s.Issuer(ctx, issuer)
	check(err)

	o, made := acmetest.NewOrder(a.ID, "a.test", "b.test")
	check(acmetest.CreateOrder(ctx, s, o, made))
	var validations []*acme.Validation
	for _, m := range made {
		_, v, err := s.StartValidation(ctx, acmetest.By(a.ID), m.ID, acme.DNS01, -time.Second, nil)
		check(err)
		check(s.RetryValidation(ctx, v, nil, -time.Second))
	}
	validations, err = s.ClaimValidations(ctx, 2, time.Hour)
	check(err)
	for _, v := range validations {
		_, err := s.RecordValidation(ctx, v, nil, nil)
		check(err)
	}
	valid, err := s.FinalizeOrder(ctx, acmetest.By(a.ID), acme.Finalization{OrderID: o.ID},
		func(context.Context, *acme.Order) (*acme.Certificate, error) {
			return acmetest.NewCertificate(issuer), nil
		})
	check(err)
	_, err = s.Certificate(ctx, acmetest.By(a.ID), valid.ID)
	check(err)
	_, err = s.Order(ctx, acmetest.By(a.ID), o.ID)
	check(err)

	o, made = acmetest.NewOrder(a.ID, "a.test", "b.test")
	check(acmetest.CreateOrder(ctx, s, o, made))
	_, v, err := s.StartValidation(ctx, acmetest.By(a.ID), made[0].ID, acme.DNS01, time.Hour, nil)
	check(err)
	_, err = s.RecordValidation(ctx, v, acme.Problemf(acme.Connection, "refused"), nil)
	check(err)
	_, err = s.DeactivateAuthorization(ctx, a.ID, made[1].ID)
	check(err)
	_, err = s.Authorization(ctx, acmetest.By(a.ID), made[1].ID)
	check(err)
	_, err = s.DeactivateAccount(ctx, a.ID)
	check(err)
	_, err = s.Throttled(ctx, &acme.RateLimitPolicy{Overrides: []acme.LimitOverride{{Limit: acme.OrdersPerAccount, Subject: "x"}}}, 10)
	check(err)
	_, err = s.Collect(ctx, acme.DefaultGarbagePolicy())
	check(err)
}
