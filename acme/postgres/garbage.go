package postgres

import (
	"cmp"
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// sweep is one statement that brings a bounded number of rows, its first
// parameter, to where time alone takes them. It locks what it will change and
// skips what others have locked.
type sweep struct {
	name string
	sql  string
	// arg returns the second parameter, and false where the policy asks for no such
	// sweep; nil where the statement has one parameter only.
	arg func(acme.GarbagePolicy) (any, bool)
	// due asks when the oldest row that is left was, or will be, due; aged says that
	// the answer depends on arg, which is its parameter. It takes the first of an index by
	// LIMIT, as what min() costs is for Postgres to decide: of a table that it thinks
	// empty it reads the whole index.
	due  string
	aged bool
}

// oldestOf returns what is greater than every ID made longer ago than an interval:
// version 7 UUIDs begin with their time in milliseconds (RFC 9562 §5.7), so that the
// primary key finds what is old without an index on a time.
func oldestOf(interval string) string {
	return `rpad(lpad(to_hex((extract(epoch FROM now() - ` + interval + `::interval) * 1000)::bigint), 12, '0'), 32, '0')::uuid`
}

// What two partial indexes are of: when what is pending or unfinished expires, and null
// of anything else.
const (
	pendingUntil    = `CASE WHEN status = 'pending' THEN expires_at END`
	unfinishedUntil = `CASE WHEN status IN ('pending', 'ready') THEN expires_at END`
)

// sweeps returns the only list of what is swept. What a sweep finds is an array
// rather than a join, as then no plan reads more of the table than the batch.
//
// A row is first taken to its end (expired, invalid), which clients can see, and
// deleted by a later sweep. Certificates come after the orders, as theirs are mostly
// gone by then.
func sweeps() []sweep {
	return []sweep{
		{
			// A redemption that began before the nonce expired looks for it up to a
			// statement's timeout later: hence the minute.
			name: "expired nonces",
			sql: `
				DELETE FROM nonces WHERE ctid = ANY (ARRAY(
					SELECT ctid FROM nonces WHERE expires_at < now() - interval '1 minute'
					ORDER BY expires_at, id LIMIT $1 FOR UPDATE SKIP LOCKED))`,
			due: `SELECT expires_at + interval '1 minute' FROM nonces ORDER BY expires_at, id LIMIT 1`,
		},
		{
			name: "expired authorizations",
			sql: `
				UPDATE authorizations SET status = 'expired', due_at = NULL, lease = NULL WHERE id = ANY (ARRAY(
					SELECT id FROM authorizations WHERE ` + pendingUntil + ` <= now()
					ORDER BY ` + pendingUntil + ` LIMIT $1 FOR UPDATE SKIP LOCKED))`,
			due: `SELECT ` + pendingUntil + ` FROM authorizations WHERE ` + pendingUntil + ` IS NOT NULL ORDER BY ` + pendingUntil + ` LIMIT 1`,
		},
		{
			name: "expired orders",
			sql: `
				UPDATE orders SET status = 'invalid', error = $2::json WHERE id = ANY (ARRAY(
					SELECT id FROM orders WHERE ` + unfinishedUntil + ` <= now()
					ORDER BY ` + unfinishedUntil + ` LIMIT $1 FOR UPDATE SKIP LOCKED))`,
			due: `SELECT ` + unfinishedUntil + ` FROM orders WHERE ` + unfinishedUntil + ` IS NOT NULL ORDER BY ` + unfinishedUntil + ` LIMIT 1`,
			arg: func(acme.GarbagePolicy) (any, bool) { return acme.OrderExpired(), true },
		},
		oldRows("old orders", "orders", `status IN ('valid', 'invalid')`, func(p acme.GarbagePolicy) time.Duration { return p.Orders }),
		oldRows("old authorizations", "authorizations", `status <> 'pending'`, func(p acme.GarbagePolicy) time.Duration { return p.Authorizations }),
		{
			// That no order is left without its certificate is looked at when the
			// statement ends. The orders are locked after the certificates, by a statement
			// that could only meet a finalization which finds its order valid and lets go.
			name: "old certificates",
			sql: `
				WITH old AS MATERIALIZED (
					SELECT ARRAY(
						SELECT id FROM certificates WHERE not_after < now() - $2::interval
						ORDER BY not_after LIMIT $1 FOR UPDATE SKIP LOCKED) AS ids),
				ordered AS (DELETE FROM orders WHERE id = ANY ((SELECT ids FROM old)::uuid[]))
				DELETE FROM certificates WHERE id = ANY ((SELECT ids FROM old)::uuid[])`,
			due:  `SELECT not_after + $1::interval FROM certificates ORDER BY not_after LIMIT 1`,
			arg:  func(p acme.GarbagePolicy) (any, bool) { return p.Certificates, p.Certificates > 0 },
			aged: true,
		},
		{
			// A spend that waits for a row which is deleted begins anew without it, and
			// finds the same: all is free.
			name: "free limits",
			sql: `
				DELETE FROM limits WHERE ctid = ANY (ARRAY(
					SELECT ctid FROM limits WHERE due <= now()
					ORDER BY due LIMIT $1 FOR UPDATE SKIP LOCKED))`,
			due: `SELECT due FROM limits ORDER BY due LIMIT 1`,
		},
		{
			name: "silent replicas",
			sql: `
				DELETE FROM replicas WHERE name = ANY (ARRAY(
					SELECT name FROM replicas WHERE reported_at < now() - $2::interval
					LIMIT $1 FOR UPDATE SKIP LOCKED))`,
			due:  `SELECT min(reported_at) + $1::interval FROM replicas`,
			arg:  func(acme.GarbagePolicy) (any, bool) { return replicaExpiry, true },
			aged: true,
		},
	}
}

// oldRows returns the sweep of the rows of a table that are over, and were made long
// enough ago. It looks at the oldest rows only, ten times as many as it may delete:
// where the retention is shorter than it takes until rows are over, those that are not
// come first, and each run would walk all of them. What is behind is hardly younger,
// and has its turn once they are gone.
func oldRows(name, table, over string, retention func(acme.GarbagePolicy) time.Duration) sweep {
	over += ` AND expires_at <= now()`
	found := func(columns, age, most string) string {
		return `SELECT ` + columns + ` FROM (SELECT * FROM ` + table + ` WHERE id < ` + oldestOf(age) + ` ORDER BY id LIMIT 10 * ` + most + `) old
			WHERE ` + over + ` ORDER BY id LIMIT `
	}
	return sweep{
		name: name,
		sql: `
		DELETE FROM ` + table + ` WHERE id = ANY (ARRAY(
			SELECT id FROM ` + table + ` WHERE id = ANY (ARRAY(` + found("id", "$2", "$1::bigint") + `$1::bigint)) AND ` + over + `
			ORDER BY id FOR UPDATE SKIP LOCKED))`,
		arg:  func(p acme.GarbagePolicy) (any, bool) { return retention(p), retention(p) > 0 },
		due:  found("greatest(created_at + $1::interval, expires_at)", "$1", "1000") + `1`,
		aged: true,
	}
}

// Collect runs each sweep that the policy asks for, once. They are independent:
// the error joins those of the sweeps that failed, the report says what the
// others did, and none takes the time that is left of a deadline from those after it.
// Any number of callers may collect at once. One round trip for each
// sweep, which waits for no disk: a crash of the database forgets what the next
// collection does again.
//
// A sweep that has much to do is followed by a pause as long as it took, so that at
// least half of the time is for those who issue.
func (s *Store) Collect(ctx context.Context, p acme.GarbagePolicy) (acme.GarbageReport, error) {
	p.Batch = cmp.Or(p.Batch, acme.DefaultGarbageBatch)
	var report acme.GarbageReport
	all := sweeps()
	for i, w := range all {
		var args []any
		if w.arg != nil {
			arg, wanted := w.arg(p)
			if !wanted {
				continue
			}
			args = append(args, arg)
		}
		done := s.sweep(ctx, len(all)-i, w, p.Batch, args)
		report = append(report, done)
		if done.More {
			pause(ctx, done.Duration)
		}
	}
	return report, report.Err()
}

// pause waits.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done(): // the next sweep says so
	case <-time.After(d):
	}
}

// sweep runs one sweep, in its share of the time that there is for it and those after
// it.
func (s *Store) sweep(ctx context.Context, sharers int, w sweep, batch int, args []any) acme.GarbageSweep {
	if deadline, ok := ctx.Deadline(); ok {
		shared, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(sharers))
		defer cancel()
		ctx = shared
	}
	done, start := acme.GarbageSweep{Name: w.name}, time.Now()
	b, rows, overdue := &pgx.Batch{}, int64(0), 0.0
	unhurried(b)
	b.Queue(w.sql, append([]any{batch}, args...)...).Exec(func(tag pgconn.CommandTag) error {
		rows = tag.RowsAffected()
		return nil
	})
	if !w.aged {
		args = nil
	}
	b.Queue(`SELECT coalesce(extract(epoch FROM now() - (`+w.due+`)), 0)::float8`, args...).
		QueryRow(func(row pgx.Row) error { return row.Scan(&overdue) })
	if done.Err = s.send(ctx, "sweep "+w.name, b); done.Err == nil {
		done.Rows, done.More = rows, rows >= int64(batch)
		done.Overdue = time.Duration(max(overdue, 0) * float64(time.Second))
	}
	done.Duration = time.Since(start)
	return done
}
