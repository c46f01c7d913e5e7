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

// completeOrder adds the certificate and makes its order valid, both or neither:
// the certificate comes from a ready order and a registered issuer, and the
// order's change from the certificate.
const completeOrder = `
	WITH issued AS (
		INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, issued_at, name_set)
		SELECT o.id, o.account_id, $2::bytea, $3::bytea, $4::bytea, $5::timestamptz, $6::timestamptz,
			coalesce($7::timestamptz, now()), $8::bytea
		FROM orders o
		WHERE o.id = $1 AND o.status = 'ready' AND EXISTS (SELECT FROM issuers WHERE id = $3)
		RETURNING id)
	UPDATE orders SET status = 'valid'
	FROM issued WHERE orders.id = issued.id AND orders.status = 'ready'`

// FinalizeOrder takes a ready order that has not expired to valid, with the
// certificate that issue returns; its account and ID are set here. The order's row is locked from the check to the commit, so
// that of any number of callers one issues and the others return what it made. If
// this process dies in between, the order is ready again at once, and what issue
// signed was never given to anybody.
//
// A key that any account has is [acme.ErrKeyInUse] (RFC 8555 §11.1).
//
// Two round trips, one before issue and one after it, whose commit waits for the disk.
func (s *Store) FinalizeOrder(ctx context.Context, by *acme.Proof, f acme.Finalization, issue acme.IssueFunc) (*acme.Order, error) {
	const what = "finalize order"
	defer s.metrics.observe(what, time.Now())
	conn, err := s.borrow(ctx)
	if err != nil {
		return nil, s.metrics.count(what, storeError(what, err))
	}
	defer release(ctx, conn)

	o, err := s.lockForIssue(ctx, conn, by, f)
	if err != nil || o.Status == acme.OrderValid {
		return o, s.metrics.count(what, err)
	}
	c, err := issue(ctx, o)
	if err != nil {
		return nil, err
	}
	c.ID, c.AccountID = f.OrderID, by.Account
	if err := s.complete(ctx, conn, c, acme.NameSetOf(o.Identifiers)); err != nil {
		return nil, s.metrics.count(what, storeError(what, err))
	}
	by.Redeemed = true
	o.Status = acme.OrderValid
	return o, nil
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

// errNothingCompleted cannot happen while the order's lock is held, but for an
// issuer that was never registered.
var errNothingCompleted = errors.New("the certificate's issuer is not registered")

// complete records the certificate of the order that conn has locked, which is for
// names, and commits.
func (s *Store) complete(ctx context.Context, conn *pgxpool.Conn, c *acme.Certificate, names acme.NameSet) error {
	b := &pgx.Batch{}
	var completed bool
	b.Queue(completeOrder, uuidOf(c.ID), c.Serial[:], c.IssuerID[:], c.DER,
		c.NotBefore, c.NotAfter, timeOf(c.IssuedAt), names[:]).Exec(changed(&completed))
	b.Queue(`COMMIT`)
	if err := s.roundTrip(ctx, conn, b); err != nil {
		return err
	}
	if !completed {
		return fmt.Errorf("issuer %x: %w", c.IssuerID, errNothingCompleted)
	}
	return nil
}

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
