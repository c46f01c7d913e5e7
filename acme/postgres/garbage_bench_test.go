package postgres_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

var expiredOrders = flag.Int("expired", 200_000, "how many expired orders BenchmarkCollect sweeps")

// expired is pending orders with one authorization each, as an abandoned client
// leaves them, whose time has passed. IDs begin with the time.
const expired = `
SET search_path = acme;
INSERT INTO orders (id, account_id, status, identifiers, authorization_ids, profile, expires_at, created_at)
	SELECT (lpad(to_hex(n), 12, '0') || substr(md5(n::text), 1, 20))::uuid, gen_random_uuid(), 'pending', '[{"type":"dns","value":"a.test"}]',
		ARRAY[gen_random_uuid()], 'tlsserver', now() - interval '1 hour', now() - interval '2 hours' FROM generate_series(1, %d) n;
INSERT INTO authorizations (id, account_id, order_id, identifier_type, identifier_value, wildcard, status, token, challenge_types, expires_at, created_at)
	SELECT (lpad(to_hex(row_number() OVER (ORDER BY id)), 12, '0') || substr(md5(id::text), 1, 20))::uuid, account_id, id, 'dns', 'a.test', false, 'pending', 'token',
		'{http-01,dns-01,tls-alpn-01}', expires_at, created_at FROM orders;
ANALYZE orders; ANALYZE authorizations`

// collected is the bench of BenchmarkCollect.
type collected struct {
	*postgres.Store
	conn    *pgx.Conn
	account acme.ID
	issuer  acme.IssuerID
}

// BenchmarkCollect ends expired orders with their authorizations, and deletes them,
// which is four rows changed for each, while certificates are issued. It reports how
// long those take, alone and beside it, and the size of the database.
func BenchmarkCollect(b *testing.B) {
	db, err := postgrestest.Start(b.Context(), postgrestest.Options{Fsync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Stop() })
	url := db.URL(b)
	c := collected{Store: postgrestest.Open(b, postgres.Config{URL: url})}
	if c.conn, err = pgx.Connect(b.Context(), url); err != nil {
		b.Fatal(err)
	}
	defer c.conn.Close(b.Context()) //nolint:errcheck // the database ends with the benchmark
	empty := c.size(b)
	if _, err := c.conn.Exec(b.Context(), fmt.Sprintf(expired, *expiredOrders)); err != nil {
		b.Fatal(err)
	}
	account, _, _, err := c.CreateAccount(b.Context(), acmetest.NewAccount(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	c.account, c.issuer = account.ID, acmetest.NewIssuer(b, c.Store)
	quiet, full := c.issue(b, nil, 10*time.Second), c.size(b)
	for b.Loop() {
		var rows int64
		swept := make(chan struct{})
		start := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			defer close(swept)
			rows = c.collectAll(b)
		})
		busy := c.issue(b, swept, 0)
		all.Wait()
		b.ReportMetric(float64(rows)/time.Since(start).Seconds(), "rows/s")
		b.Logf("%d rows in %s; an issuance alone %s; while it sweeps %s; the database has %d MB, with what expired %d MB, without it %d MB",
			rows, time.Since(start), quiet, busy, empty, full, c.size(b))
	}
}

// collectAll collects as the controller does, until there is nothing left.
func (c *collected) collectAll(b *testing.B) (rows int64) {
	b.Helper()
	for more := true; more; {
		start := time.Now()
		report, err := c.Collect(b.Context(), acme.GarbagePolicy{Orders: time.Minute, Authorizations: time.Minute})
		if err != nil {
			b.Error(err)
		}
		for _, r := range report {
			rows += r.Rows
		}
		if more = err == nil && report.More(); more {
			<-time.After(max(50*time.Millisecond, time.Since(start)))
		}
	}
	return rows
}

// size returns the megabytes of the database, once what is dead in it was vacuumed.
func (c *collected) size(b *testing.B) (megabytes int64) {
	b.Helper()
	if _, err := c.conn.Exec(b.Context(), `VACUUM`); err != nil {
		b.Fatal(err)
	}
	if err := c.conn.QueryRow(b.Context(), `SELECT pg_database_size(current_database()) / 1000000`).Scan(&megabytes); err != nil {
		b.Fatal(err)
	}
	return megabytes
}

// issue makes orders and finalizes them, a hundred a second, until a channel closes
// or a time is over, and returns how long they took.
func (c *collected) issue(b *testing.B, until <-chan struct{}, atMost time.Duration) string {
	b.Helper()
	var over <-chan time.Time
	if atMost > 0 {
		over = time.After(atMost)
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	var took []time.Duration
	for {
		select {
		case <-until:
		case <-over:
		case <-ticker.C:
			o, made := acmetest.NewReadyOrder(c.account, "a.test")
			start := time.Now()
			err := acmetest.CreateOrder(b.Context(), c.Store, o, made)
			if err == nil {
				_, err = c.FinalizeOrder(b.Context(), acmetest.By(c.account), acme.Finalization{OrderID: o.ID},
					func(context.Context, *acme.Order) (*acme.Certificate, error) {
						return acmetest.NewCertificate(c.issuer), nil
					})
			}
			if err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
			continue
		}
		break
	}
	slices.Sort(took)
	return fmt.Sprintf("p50 %s, p99 %s of %d", took[len(took)/2], took[len(took)*99/100], len(took))
}

// BenchmarkLimits is a new order with and without what the built-in policy has it
// spend, on a server whose commits wait for the disk.
func BenchmarkLimits(b *testing.B) {
	db, err := postgrestest.Start(b.Context(), postgrestest.Options{Fsync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Stop() })
	store := postgrestest.Open(b, postgres.Config{URL: db.URL(b)})
	account, _, _, err := store.CreateAccount(b.Context(), acmetest.NewAccount(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	many := acme.Limit{Count: 1_000_000, Period: time.Hour}
	limited := []acme.Spend{
		{Limit: acme.OrdersPerAccount, Subject: account.ID.String(), Of: many},
		{Limit: acme.CertificatesPerNameSet, Subject: "a", Of: many},
		{Limit: acme.FailedValidationsPerIdentifier, Subject: "a", Of: many, Check: true},
	}
	full := []acme.Spend{{Limit: acme.OrdersPerAccount, Subject: "full", Of: acme.Limit{Count: 1, Period: time.Hour}}}
	order := func(spends []acme.Spend) error {
		o, made := acmetest.NewReadyOrder(account.ID, "a.test")
		_, err := store.CreateOrder(b.Context(), acmetest.By(o.AccountID), o, made, spends)
		return err
	}
	if err := order(full); err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name    string
		spends  []acme.Spend
		refused bool
	}{{"unlimited", nil, false}, {"limited", limited, false}, {"refused", full, true}} {
		check := func(b *testing.B) {
			b.Helper()
			if err := order(bb.spends); (err != nil) != bb.refused {
				b.Error(err)
			}
		}
		b.Run(bb.name+", one at a time", func(b *testing.B) {
			for b.Loop() {
				check(b)
			}
		})
		b.Run(bb.name+", eight at once", func(b *testing.B) {
			b.SetParallelism(4) // of two cores
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					check(b)
				}
			})
		})
	}
}
