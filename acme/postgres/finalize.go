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

// rollbackTimeout bounds the giving back of a lock, which must not depend on a
// caller that has gone away.
const rollbackTimeout = time.Second

// lockOrder reads and locks an order with what its finalization depends on. Who
// waited for the lock sees what the one before has left.
const lockOrder = `
	SELECT ` + orderColumns + `,
		o.expires_at <= now(),
		(SELECT status FROM accounts WHERE id = o.account_id),
		EXISTS (SELECT FROM accounts WHERE key_thumbprint = $3),
		o.trusted
	FROM orders o WHERE o.id = $1 AND o.account_id = $2
	FOR UPDATE OF o`

// completeOrder adds the certificate and makes its order valid, both or neither, where
// all is so that a finalization depends on. The order's row is locked from the look to
// the change: who waited for it sees what the one before has left.
const completeOrder = `
	WITH finalizable AS MATERIALIZED (
		SELECT o.id, o.account_id FROM orders o
		WHERE o.id = $1 AND o.account_id = $2 AND o.status = 'ready' AND o.expires_at > now()
			AND EXISTS (SELECT FROM accounts WHERE id = $2 AND status = 'valid')
			AND NOT EXISTS (SELECT FROM accounts WHERE key_thumbprint = $3)
			AND EXISTS (SELECT FROM issuers WHERE id = $5)
		FOR UPDATE OF o),
	issued AS (
		INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, issued_at, name_set)
		SELECT id, account_id, $4::bytea, $5::bytea, $6::bytea, $7::timestamptz, $8::timestamptz,
			coalesce($9::timestamptz, now()), $10::bytea
		FROM finalizable
		RETURNING id)
	UPDATE orders SET status = 'valid'
	FROM issued WHERE orders.id = issued.id AND orders.status = 'ready'`

// FinalizeOrder takes a ready order that has not expired to valid, with the
// certificate that issue returns; its account and ID are set here. A key that any
// account has is [acme.ErrKeyInUse] (RFC 8555 §11.1).
//
// Of an order that this replica made, and knows to be ready, all is known that the
// certificate depends on. It is signed before the database is asked, which then takes
// it where the order is ready still, or leaves it: one round trip, whose commit waits
// for the disk. Any other order is locked while issue is called: two round trips, and
// one such commit ([why]).
//
// Of any number of callers one has its certificate recorded, and the others return
// what it made. If this process dies in between, the order is ready still, and what
// issue signed was never given to anybody.
//
// [why]: docs/adr/0003-finalize-holds-a-lock.md
func (s *Store) FinalizeOrder(ctx context.Context, by *acme.Proof, f acme.Finalization, issue acme.IssueFunc) (*acme.Order, error) {
	const what = "finalize order"
	defer s.metrics.observe(what, time.Now())
	o, err := s.finalizeRemembered(ctx, by, f, issue)
	if o == nil && err == nil {
		o, err = s.finalizeLocked(ctx, by, f, issue)
	}
	return o, s.metrics.count(what, err)
}

// finalizeRemembered finalizes an order that is remembered to be ready. It returns
// neither an order nor an error where none is, or where the database finds otherwise.
func (s *Store) finalizeRemembered(ctx context.Context, by *acme.Proof, f acme.Finalization, issue acme.IssueFunc) (*acme.Order, error) {
	o, done, over := s.memory.take(by.Account, f)
	if o == nil {
		s.await(ctx, over)
		return nil, nil
	}
	defer done()
	c, err := issue(ctx, o)
	if err != nil {
		return nil, err
	}
	b := writing(by)
	completed := queueCompletion(b, by, f, c, o)
	if err := s.sendBy(ctx, "complete order", by, b); err != nil || !*completed {
		return nil, err
	}
	o.Status = acme.OrderValid
	return o, nil
}

// await waits until another is done with an order, but no longer than that may take
// unless it hangs; not at all where over is nil.
func (s *Store) await(ctx context.Context, over <-chan struct{}) {
	if over == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.exchange)
	defer cancel()
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// finalizeLocked finalizes an order that is locked meanwhile, or says why it cannot be.
func (s *Store) finalizeLocked(ctx context.Context, by *acme.Proof, f acme.Finalization, issue acme.IssueFunc) (*acme.Order, error) {
	conn, err := s.borrow(ctx)
	if err != nil {
		return nil, storeError("lock order", err)
	}
	defer release(ctx, conn)

	o, err := s.lockForIssue(ctx, conn, by, f)
	if err != nil || o.Status == acme.OrderValid {
		return o, err
	}
	c, err := issue(ctx, o)
	if err != nil {
		return nil, err
	}
	b := &pgx.Batch{}
	completed := queueCompletion(b, by, f, c, o)
	b.Queue(`COMMIT`)
	if err := s.roundTrip(ctx, conn, b); err != nil {
		return nil, storeError("complete order", err)
	}
	if !*completed {
		return nil, fmt.Errorf("complete order: issuer %x: %w", c.IssuerID, errNothingCompleted)
	}
	by.Redeemed = true
	o.Status = acme.OrderValid
	return o, nil
}

// queueCompletion queues the recording of an order's certificate.
func queueCompletion(b *pgx.Batch, by *acme.Proof, f acme.Finalization, c *acme.Certificate, o *acme.Order) (completed *bool) {
	c.ID, c.AccountID = f.OrderID, by.Account
	names := acme.NameSetOf(o.Identifiers)
	completed = new(bool)
	b.Queue(completeOrder, uuidOf(c.ID), uuidOf(c.AccountID), f.Key[:], c.Serial[:], c.IssuerID[:], c.DER,
		c.NotBefore, c.NotAfter, timeOf(c.IssuedAt), names[:]).Exec(changed(completed))
	return completed
}

// lockForIssue begins a transaction and locks an order that may be finalized with
// a key, or returns one that is valid already.
func (s *Store) lockForIssue(ctx context.Context, conn *pgxpool.Conn, by *acme.Proof, f acme.Finalization) (*acme.Order, error) {
	b, o := &pgx.Batch{}, new(acme.Order)
	var found, expired, keyInUse, trusted bool
	var accountStatus string
	b.Queue(`BEGIN`)
	queueProof(b, by)
	b.Queue(lockOrder, uuidOf(f.OrderID), uuidOf(by.Account), f.Key[:]).QueryRow(optional(&found, func(row pgx.Row) error {
		return scanOrder(row, o, &expired, &accountStatus, &keyInUse, &trusted)
	}))
	err := s.roundTrip(ctx, conn, b)
	switch {
	case err != nil:
		return nil, storeError("lock order", proofError(err))
	case !found:
		return nil, notFound("order", f.OrderID)
	case o.Status == acme.OrderValid:
		return o, nil
	case o.Status != acme.OrderReady:
		return nil, &acme.StateError{Object: "order", ID: f.OrderID, State: string(o.Status)}
	case expired:
		return nil, &acme.StateError{Object: "order", ID: f.OrderID, State: "expired"}
	case f.Proved && trusted:
		return nil, &acme.StateError{Object: "order", ID: f.OrderID, State: acme.OrderUnproved}
	case accountStatus != string(acme.AccountValid):
		return nil, &acme.StateError{Object: "account", ID: by.Account, State: accountStatus}
	case keyInUse:
		return nil, fmt.Errorf("finalize order %s: %w", f.OrderID, acme.ErrKeyInUse)
	}
	return o, nil
}

// errNothingCompleted cannot happen while the order's lock is held, but for an issuer
// that was never registered, or an account made meanwhile with the key to be certified.
var errNothingCompleted = errors.New("the certificate's issuer is not registered")

// release gives a connection back, with its transaction rolled back where it has
// one. Where that cannot be said in time, the pool closes the connection, and the
// database rolls back by itself.
func release(ctx context.Context, conn *pgxpool.Conn) {
	defer conn.Release()
	if pg := conn.Conn().PgConn(); pg.IsClosed() || pg.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, `ROLLBACK`)
}
