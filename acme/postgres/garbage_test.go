package postgres_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

const day = 24 * time.Hour

// sweptTables has the table of each sweep. A sweep that is not here fails
// TestGarbageSweepsAreIndependent.
func sweptTables() map[string]string {
	return map[string]string{
		"expired nonces":         "nonces",
		"expired authorizations": "authorizations",
		"expired orders":         "orders",
		"old orders":             "orders",
		"old authorizations":     "authorizations",
		"old certificates":       "certificates",
		"free limits":            "limits",
		"silent replicas":        "replicas",
	}
}

// dump is a database with objects of every age, each of which has a name: orders
// their profile, authorizations their identifier, certificates their DER.
type dump struct {
	*pgx.Conn
	t     *testing.T
	store *postgres.Store
}

// newDump returns an empty one.
func newDump(t *testing.T) *dump {
	t.Helper()
	url := postgrestest.URL(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	d := &dump{Conn: conn, t: t, store: postgrestest.Open(t, postgres.Config{URL: url})}
	d.exec(`SET search_path = acme`)
	return d
}

func (d *dump) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.Exec(d.t.Context(), sql, args...); err != nil {
		d.t.Fatal(err)
	}
}

// idAged returns an ID that was made some time ago.
func idAged(age time.Duration) [16]byte {
	id := acme.NewID()
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().Add(-age).UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

// order adds an order that was made some time ago and expires in some time.
func (d *dump) order(name, status string, age, left time.Duration) {
	d.t.Helper()
	d.exec(`
		INSERT INTO orders (id, account_id, status, identifiers, authorization_ids, profile, expires_at, created_at)
		VALUES ($1, gen_random_uuid(), $2, '[]', ARRAY[gen_random_uuid()], $3, now() + $4::interval, now() - $5::interval)`,
		idAged(age), status, name, left, age)
}

// authorization adds an authorization, which is a leased job where it is pending.
func (d *dump) authorization(name, status string, age, left time.Duration) {
	d.t.Helper()
	d.exec(`
		INSERT INTO authorizations (id, account_id, identifier_type, identifier_value, wildcard, status, token,
			challenge_types, challenge_type, due_at, lease, expires_at, created_at)
		VALUES ($1, gen_random_uuid(), 'dns', $2, false, $3, '', '{dns-01}', 'dns-01',
			CASE WHEN $3 = 'pending' THEN now() END, CASE WHEN $3 = 'pending' THEN gen_random_uuid() END,
			now() + $4::interval, now() - $5::interval)`,
		idAged(age), name, status, left, age)
}

// certificate adds a valid order, unless that was deleted, with its certificate
// that has some time left.
func (d *dump) certificate(name string, age, left time.Duration, ordered bool) {
	d.t.Helper()
	id := idAged(age)
	d.exec(`
		INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, issued_at)
		VALUES ($1, gen_random_uuid(), substr(sha256($2::text::bytea), 1, 16), substr(sha256(''), 1, 16), $2::text::bytea,
			now() - $3::interval, now() + $4::interval, now() - $3::interval)`, id, name, age, left)
	if !ordered {
		return
	}
	d.exec(`
		INSERT INTO orders (id, account_id, status, identifiers, authorization_ids, profile, expires_at, created_at)
		VALUES ($1, gen_random_uuid(), 'valid', '[]', ARRAY[gen_random_uuid()], $2, now() - $3::interval, now() - $3::interval)`,
		id, "of "+name, age)
}

func (d *dump) nonce(left time.Duration) {
	d.t.Helper()
	d.exec(`INSERT INTO nonces (expires_at, id) VALUES (now() + $1::interval, gen_random_uuid())`, left)
}

// limit adds what was spent of a limit, all of which is free in some time.
func (d *dump) limit(subject string, left time.Duration) {
	d.t.Helper()
	d.exec(`INSERT INTO limits (name, subject, tat, due) SELECT 'ordersPerAccount', $1, tat, date_trunc('hour', tat) + interval '1 hour'
		FROM (SELECT now() + $2::interval AS tat) l`, subject, left)
}

func (d *dump) replica(name string, silent time.Duration) {
	d.t.Helper()
	d.exec(`INSERT INTO replicas (name, generation, reported_at) VALUES ($1, 0, now() - $2::interval)`, name, silent)
}

// rows lists the objects by name with their status.
func (d *dump) rows() []string {
	d.t.Helper()
	found, err := d.Query(d.t.Context(), `
		SELECT 'order ' || profile || ': ' || status || coalesce(', ' || (error ->> 'detail'), '') FROM orders
		UNION ALL SELECT 'authorization ' || identifier_value || ': ' || status
			|| CASE WHEN due_at IS NULL AND lease IS NULL THEN '' ELSE ', queued' END FROM authorizations
		UNION ALL SELECT 'certificate ' || convert_from(der, 'UTF8') FROM certificates
		UNION ALL SELECT 'nonce ' || CASE WHEN expires_at > now() THEN 'good' ELSE 'expired' END FROM nonces
		UNION ALL SELECT 'limit of ' || subject FROM limits
		UNION ALL SELECT 'replica ' || name FROM replicas`)
	if err != nil {
		d.t.Fatal(err)
	}
	list, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		d.t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// collect runs a collection that must succeed.
func (d *dump) collect(p acme.GarbagePolicy) acme.GarbageReport {
	d.t.Helper()
	report, err := d.store.Collect(d.t.Context(), p)
	if err != nil {
		d.t.Fatal(err)
	}
	return report
}

// wantRows compares the objects with what should be there.
func (d *dump) wantRows(want ...string) {
	d.t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, d.rows(), cmpopts.EquateEmpty()); diff != "" {
		d.t.Errorf("the objects (-want +got):\n%s", diff)
	}
}

// fill adds objects of every kind on both sides of every bound of the defaults.
func (d *dump) fill() {
	d.t.Helper()
	d.nonce(-2 * time.Minute)
	d.nonce(-time.Second) // a redemption may be looking for it
	d.nonce(time.Hour)
	d.limit("who has spent", time.Minute)
	d.limit("who spent yesterday", -day)
	d.replica("serving", -time.Minute) // so that it is on a slow machine too
	d.replica("killed", time.Minute)
	for _, status := range []string{"pending", "ready", "invalid"} {
		d.order("live "+status, status, time.Hour, time.Hour)
		d.order("expired "+status, status, 2*time.Hour, -time.Second)
		d.order("old "+status, status, 31*day, -29*day)
		d.order("old but live "+status, status, 31*day, time.Hour)
	}
	for _, status := range []string{"pending", "valid", "invalid", "deactivated"} {
		d.authorization("live "+status, status, time.Hour, time.Hour)
		d.authorization("expired "+status, status, 2*time.Hour, -time.Second)
		d.authorization("old "+status, status, 31*day, -29*day)
		d.authorization("old but live "+status, status, 31*day, time.Hour)
	}
	d.certificate("live", day, day, true)
	d.certificate("expired", 91*day, -89*day, false)
	d.certificate("long expired", 200*day, -91*day, false)
	d.certificate("long expired with an order", 200*day, -91*day, true)
}

func TestGarbageIsWhatTimeMakesOfObjects(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	d.fill()
	const late = ", the order expired before it was finalized"
	kept := []string{
		"nonce good", "nonce expired", "limit of who has spent", "replica serving",
		"order live pending: pending", "order live ready: ready", "order live invalid: invalid",
		"order old but live pending: pending", "order old but live ready: ready", "order old but live invalid: invalid",
		"order expired pending: invalid" + late, "order expired ready: invalid" + late, "order expired invalid: invalid",
		"authorization live pending: pending, queued", "authorization old but live pending: pending, queued",
		"authorization live valid: valid", "authorization old but live valid: valid", "authorization expired valid: valid",
		"authorization live invalid: invalid", "authorization old but live invalid: invalid", "authorization expired invalid: invalid",
		"authorization live deactivated: deactivated", "authorization old but live deactivated: deactivated",
		"authorization expired deactivated: deactivated", "authorization expired pending: expired",
		"certificate live", "order of live: valid", "certificate expired",
	}
	forever := acme.GarbagePolicy{}
	for range 2 { // the second finds nothing to do
		d.collect(forever)
		d.wantRows(append(slices.Clone(kept),
			"order old pending: invalid"+late, "order old ready: invalid"+late, "order old invalid: invalid",
			"authorization old pending: expired", "authorization old valid: valid",
			"authorization old invalid: invalid", "authorization old deactivated: deactivated",
			"certificate long expired", "certificate long expired with an order", "order of long expired with an order: valid",
		)...)
	}
	for range 2 {
		d.collect(acme.DefaultGarbagePolicy())
		d.wantRows(kept...)
	}
}

func TestGarbageOfACertificateIsItsOrderToo(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	d.certificate("long expired", 200*day, -91*day, true)
	d.certificate("live", 200*day, day, true)
	d.collect(acme.GarbagePolicy{Certificates: 90 * day})
	d.wantRows("certificate live", "order of live: valid")
}

func TestGarbageThatIsLockedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	d.order("locked", "ready", 2*time.Hour, -time.Second)
	d.exec(`BEGIN`)
	d.exec(`SELECT FROM orders FOR UPDATE`)
	d.order("free", "ready", 2*time.Hour, -time.Second)
	for _, s := range d.collect(acme.DefaultGarbagePolicy()) {
		if s.Rows != 0 {
			t.Errorf("%s: %d rows; want what is locked left, and what is not committed not seen", s.Name, s.Rows)
		}
	}
	d.exec(`COMMIT`)
	d.collect(acme.DefaultGarbagePolicy())
	d.wantRows("order locked: invalid, the order expired before it was finalized",
		"order free: invalid, the order expired before it was finalized")
}

func TestGarbageOfMoreThanABatchIsLeft(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	p := acme.DefaultGarbagePolicy()
	p.Batch = 2
	for range 5 {
		d.order("o", "invalid", 31*day, -time.Hour)
		d.nonce(-time.Hour)
		d.authorization("a", "valid", 31*day, -time.Hour)
	}
	for i, want := range []int64{2, 2, 1, 0} {
		report := d.collect(p)
		for _, s := range report {
			if slices.Contains([]string{"old orders", "expired nonces", "old authorizations"}, s.Name) && (s.Rows != want || s.More != (want == 2)) {
				t.Errorf("collection %d: %s took %d rows, more: %t; want %d", i+1, s.Name, s.Rows, s.More, want)
			}
		}
		if report.More() != (want == 2) {
			t.Errorf("collection %d: more is %t", i+1, report.More())
		}
	}
	d.wantRows()
}

// What stands in the way of one table's sweeps stands in that of no other's.
func TestGarbageSweepsAreIndependent(t *testing.T) {
	t.Parallel()
	d, tables := newDump(t), sweptTables()
	all := d.collect(acme.DefaultGarbagePolicy())
	if len(all) != len(tables) {
		t.Errorf("%d sweeps; this test knows %d", len(all), len(tables))
	}
	for _, w := range all {
		broken, known := tables[w.Name]
		if !known {
			t.Fatalf("sweep %q is not known to this test", w.Name)
		}
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			d := newDump(t)
			d.fill()
			d.exec(`ALTER TABLE ` + broken + ` RENAME TO away`)
			report, err := d.store.Collect(t.Context(), acme.DefaultGarbagePolicy())
			if err == nil || !strings.Contains(err.Error(), "sweep "+w.Name) {
				t.Errorf("error %v; want that of the sweep", err)
			}
			if len(report) != len(tables) {
				t.Fatalf("%d sweeps are reported; want all", len(report))
			}
			for _, s := range report {
				// That of certificates needs the orders.
				uses := tables[s.Name] == broken || s.Name == "old certificates" && broken == "orders"
				if (s.Err != nil) != uses {
					t.Errorf("%s: error %v", s.Name, s.Err)
				}
				if s.Err == nil && s.Rows == 0 {
					t.Errorf("%s did nothing", s.Name)
				}
			}
		})
	}
}

// Whatever is swept when, a spend finds the same: nobody is refused by what is free,
// and nobody gets more for it.
func TestGarbageOfLimitsIsAsGoodAsNone(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	account, _, _, err := d.store.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	spend := []acme.Spend{{Limit: acme.OrdersPerAccount, Subject: "x", Of: acme.Limit{Count: 10, Period: day}}}
	order := func() ([]acme.Quota, error) {
		o, made := acmetest.NewReadyOrder(account.ID, "a.test")
		return d.store.CreateOrder(t.Context(), acmetest.By(o.AccountID), o, made, spend)
	}
	d.limit("x", -day)
	d.exec(`BEGIN`)
	d.exec(`DELETE FROM limits`) // a sweep that has not ended
	waited := make(chan []acme.Quota)
	go func() {
		quotas, err := order()
		if err != nil {
			t.Error(err)
		}
		waited <- quotas
	}()
	d.awaitLock()
	d.exec(`COMMIT`)
	if q := <-waited; len(q) != 1 || q[0].Remaining != 9 {
		t.Errorf("left %+v after the sweep; want 9", q)
	}
	d.exec(`UPDATE limits SET tat = now() - interval '1 day', due = now() - interval '1 hour'`)
	var all sync.WaitGroup
	var taken atomic.Int32
	for range 40 {
		all.Go(func() {
			if _, err := order(); err == nil {
				taken.Add(1)
			}
		})
		all.Go(func() {
			if _, err := d.store.Collect(t.Context(), acme.DefaultGarbagePolicy()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if taken.Load() != 10 {
		t.Errorf("took %d while limits were swept; want 10", taken.Load())
	}
}

// awaitLock waits until another connection waits for a lock of this one.
func (d *dump) awaitLock() {
	d.t.Helper()
	for waiting := false; !waiting; {
		err := d.QueryRow(d.t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))`).Scan(&waiting)
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// A nonce that expires is refused, so that its row may go.
func TestGarbageNoncesAreNoUse(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	n := acmetest.NewNonce(t, d.store)
	n.ExpiresAt = time.Now().Add(-2 * time.Minute).Truncate(time.Second)
	if err := d.store.RedeemNonce(t.Context(), n); err == nil {
		t.Error("an expired nonce was taken")
	}
	d.collect(acme.DefaultGarbagePolicy())
	d.wantRows()
}
