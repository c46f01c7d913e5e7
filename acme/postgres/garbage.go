package postgres

import (
	"cmp"
	"context"
	"fmt"
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
}

// oldest is greater than every ID made longer ago than the interval $2: version 7
// UUIDs begin with their time in milliseconds (RFC 9562 §5.7), so that the primary
// key finds what is old without an index on a time.
const oldest = `rpad(lpad(to_hex((extract(epoch FROM now() - $2::interval) * 1000)::bigint), 12, '0'), 32, '0')::uuid`

// deleteOld returns a statement that deletes what is older than the interval $2 and
// over. It looks at the oldest rows only, ten times as many as it may delete: where
// the retention is shorter than it takes until rows are over, those that are not come
// first, and each run would walk all of them. What is behind is hardly younger, and
// has its turn once they are gone.
func deleteOld(table, over string) string {
	return fmt.Sprintf(`
		DELETE FROM %[1]s WHERE id = ANY (ARRAY(
			SELECT id FROM %[1]s
			WHERE id = ANY (ARRAY(
				SELECT id FROM (SELECT * FROM %[1]s WHERE id < %[2]s ORDER BY id LIMIT 10 * $1::bigint) old
				WHERE %[3]s ORDER BY id LIMIT $1::bigint)) AND %[3]s
			ORDER BY id FOR UPDATE SKIP LOCKED))`, table, oldest, over)
}

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
		},
		{
			name: "expired authorizations",
			sql: `
				UPDATE authorizations SET status = 'expired', due_at = NULL, lease = NULL WHERE id = ANY (ARRAY(
					SELECT id FROM authorizations WHERE CASE WHEN status = 'pending' THEN expires_at END <= now()
					ORDER BY CASE WHEN status = 'pending' THEN expires_at END LIMIT $1 FOR UPDATE SKIP LOCKED))`,
		},
		{
			name: "expired orders",
			sql: `
				UPDATE orders SET status = 'invalid', error = $2::json WHERE id = ANY (ARRAY(
					SELECT id FROM orders WHERE CASE WHEN status IN ('pending', 'ready') THEN expires_at END <= now()
					ORDER BY CASE WHEN status IN ('pending', 'ready') THEN expires_at END LIMIT $1 FOR UPDATE SKIP LOCKED))`,
			arg: func(acme.GarbagePolicy) (any, bool) { return acme.OrderExpired(), true },
		},
		{
			name: "old orders",
			sql:  deleteOld("orders", `status IN ('valid', 'invalid') AND expires_at <= now()`),
			arg:  func(p acme.GarbagePolicy) (any, bool) { return p.Orders, p.Orders > 0 },
		},
		{
			name: "old authorizations",
			sql:  deleteOld("authorizations", `status <> 'pending' AND expires_at <= now()`),
			arg:  func(p acme.GarbagePolicy) (any, bool) { return p.Authorizations, p.Authorizations > 0 },
		},
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
			arg: func(p acme.GarbagePolicy) (any, bool) { return p.Certificates, p.Certificates > 0 },
		},
		{
			// A spend that waits for a row which is deleted begins anew without it, and
			// finds the same: all is free.
			name: "free limits",
			sql: `
				DELETE FROM limits WHERE ctid = ANY (ARRAY(
					SELECT ctid FROM limits WHERE due <= now()
					ORDER BY due LIMIT $1 FOR UPDATE SKIP LOCKED))`,
		},
		{
			name: "silent replicas",
			sql: `
				DELETE FROM replicas WHERE name = ANY (ARRAY(
					SELECT name FROM replicas WHERE reported_at < now() - $2::interval
					LIMIT $1 FOR UPDATE SKIP LOCKED))`,
			arg: func(acme.GarbagePolicy) (any, bool) { return replicaExpiry, true },
		},
	}
}

// Collect runs each sweep that the policy asks for, once. They are independent:
// the error joins those of the sweeps that failed, and the report says what the
// others did. Any number of callers may collect at once. One round trip for each
// sweep, which waits for no disk: a crash of the database forgets what the next
// collection does again.
func (s *Store) Collect(ctx context.Context, p acme.GarbagePolicy) (acme.GarbageReport, error) {
	p.Batch = cmp.Or(p.Batch, acme.DefaultGarbageBatch)
	var report acme.GarbageReport
	for _, w := range sweeps() {
		args := []any{p.Batch}
		if w.arg != nil {
			arg, wanted := w.arg(p)
			if !wanted {
				continue
			}
			args = append(args, arg)
		}
		report = append(report, s.sweep(ctx, w, args))
	}
	return report, report.Err()
}

// sweep runs one sweep, whose first argument is the batch.
func (s *Store) sweep(ctx context.Context, w sweep, args []any) acme.GarbageSweep {
	done, start := acme.GarbageSweep{Name: w.name}, time.Now()
	b, rows := &pgx.Batch{}, int64(0)
	unhurried(b)
	b.Queue(w.sql, args...).Exec(func(tag pgconn.CommandTag) error {
		rows = tag.RowsAffected()
		return nil
	})
	if done.Err = s.send(ctx, "sweep "+w.name, b); done.Err == nil {
		done.Rows = rows
		batch, _ := args[0].(int)
		done.More = rows >= int64(batch)
	}
	done.Duration = time.Since(start)
	return done
}
