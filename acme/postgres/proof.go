package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// redeem takes a nonce for an account that is valid and has a key, or ends the
// transaction: by refuse_proof, or by the primary key where the nonce was taken.
const redeem = `
	INSERT INTO nonces (expires_at, id) VALUES (
		CASE WHEN $2::timestamptz > now() AND EXISTS (SELECT FROM nonce_keys WHERE id = $1)
			AND EXISTS (SELECT FROM accounts WHERE id = $4 AND key_thumbprint = $5 AND status = 'valid')
		THEN $2::timestamptz ELSE refuse_proof($1, $4, $5) END, $3)`

// redeemUnhurried is redeem in a transaction whose commit does not wait for the disk.
const redeemUnhurried = redeem + ` RETURNING set_config('synchronous_commit', 'off', true)`

// nonceTaken is the constraint that a nonce violates which is taken again.
const nonceTaken = "nonces_pkey"

// refusedProofs are the SQLSTATEs by which refuse_proof undoes a transaction.
var refusedProofs = map[string]error{
	"ACME2": acme.ErrNonceKeyGone,
	"ACME3": acme.ErrNonceUsed,
	"ACME4": acme.ErrAccountChanged,
}

// writing returns a batch that begins with what a proof asks for, and whose commit
// waits for the disk.
func writing(by *acme.Proof) *pgx.Batch {
	b := &pgx.Batch{}
	queueProof(b, by)
	return b
}

// reading returns a batch as writing does, of a transaction that writes nothing else:
// the nonces' table is not logged, so the commit has nothing to wait for. The
// setting is for a page of another table that is tidied up along the way.
func reading(by *acme.Proof) *pgx.Batch {
	b := &pgx.Batch{}
	if !by.Redeemed {
		b.Queue(redeemUnhurried, redemptionOf(by)...)
	}
	return b
}

// writingUnhurried returns a batch as writing does, of a transaction that may be
// forgotten: see [unhurried].
func writingUnhurried(by *acme.Proof) *pgx.Batch {
	b := reading(by)
	if by.Redeemed {
		unhurried(b)
	}
	return b
}

// queueProof queues the taking of a proof's nonce, which ends the transaction
// where it cannot be had: unlike a limit, that is met by nobody who has read our
// answers, and needs a signature, so it may show in the database's log.
func queueProof(b *pgx.Batch, by *acme.Proof) {
	if !by.Redeemed {
		b.Queue(redeem, redemptionOf(by)...)
	}
}

// redemptionOf returns the parameters of redeem.
func redemptionOf(by *acme.Proof) []any {
	return []any{int64(by.Nonce.KeyID), by.Nonce.ExpiresAt, by.Nonce.ID, uuidOf(by.Account), by.Key[:]}
}

// proofError returns the meaning of an error of redeem, and others as they are.
func proofError(err error) error {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		if answer.ConstraintName == nonceTaken {
			return acme.ErrNonceUsed
		}
		if refused, ok := refusedProofs[answer.Code]; ok {
			return refused
		}
	}
	return err
}

// sendBy sends a batch that began with a proof, which is redeemed by its commit.
func (s *Store) sendBy(ctx context.Context, what string, by *acme.Proof, b *pgx.Batch) error {
	err := proofError(s.send(ctx, what, b))
	by.Redeemed = by.Redeemed || err == nil
	return err
}
