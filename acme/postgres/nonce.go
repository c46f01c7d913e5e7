package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// nonceKeyRenewal is the age at which the newest key gets a successor.
	nonceKeyRenewal = 24 * time.Hour
	// nonceKeyLifetime is the age at which a key dies. It is longer than
	// [nonceKeyRenewal] by the longest life of a nonce, and by the time for which a
	// replica may go on to seal with a key that it has not asked for lately.
	nonceKeyLifetime = 3 * nonceKeyRenewal
)

// redemption is the outcome of taking a nonce.
type redemption struct{ taken, hasKey bool }

// err returns the error for the outcome, or nil.
func (r *redemption) err() error {
	switch {
	case r.taken:
		return nil
	case !r.hasKey:
		return acme.ErrNonceKeyGone
	default:
		return acme.ErrNonceUsed
	}
}

// queueRedeem queues the taking of a nonce. Its table is not logged, so the
// commit has nothing to wait for; the setting is for a page of another table
// that is tidied up along the way.
func queueRedeem(b *pgx.Batch, n acme.Nonce, r *redemption) {
	b.Queue(`
		WITH redeemed AS (
			INSERT INTO nonces (expires_at, id)
			SELECT $2::timestamptz, $3::uuid
			WHERE $2::timestamptz > now() AND EXISTS (SELECT FROM nonce_keys WHERE id = $1)
			ON CONFLICT DO NOTHING
			RETURNING id)
		SELECT EXISTS (SELECT FROM redeemed), EXISTS (SELECT FROM nonce_keys WHERE id = $1),
			set_config('synchronous_commit', 'off', true)`,
		int64(n.KeyID), n.ExpiresAt, n.ID,
	).QueryRow(func(row pgx.Row) error { return row.Scan(&r.taken, &r.hasKey, nil) })
}

// RedeemNonce takes a nonce, once, by the database's clock. One round trip, which
// waits for no disk.
func (s *Store) RedeemNonce(ctx context.Context, n acme.Nonce) error {
	b, r := &pgx.Batch{}, redemption{}
	queueRedeem(b, n, &r)
	if err := s.send(ctx, "redeem nonce", b); err != nil {
		return err
	}
	return r.err()
}

// Authenticate takes a nonce and reads an account. One round trip, which waits
// for no disk.
func (s *Store) Authenticate(ctx context.Context, n acme.Nonce, account acme.ID) (*acme.Account, error) {
	b, r, a, found := &pgx.Batch{}, redemption{}, new(acme.Account), false
	queueRedeem(b, n, &r)
	queueAccount(b, account, a, &found)
	if err := s.send(ctx, "authenticate", b); err != nil {
		return nil, err
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound("account", account)
	}
	return a, nil
}

// NonceKeys returns the live keys, the newest first. Where there is none, or the
// newest is a day old, it makes one; of several replicas that find so, one does.
// One round trip; five where a key is made.
func (s *Store) NonceKeys(ctx context.Context) ([]acme.NonceKey, error) {
	var keys []acme.NonceKey
	var fresh bool
	b := &pgx.Batch{}
	queueNonceKeys(b, &keys, &fresh)
	if err := s.send(ctx, "read nonce keys", b); err != nil {
		return nil, err
	}
	if fresh {
		return keys, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.exchange)
	defer cancel()
	err := s.lend(ctx, func(conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			// Readers go on; other makers wait and then find a fresh key.
			if _, err := tx.Exec(ctx, `LOCK TABLE nonce_keys IN SHARE ROW EXCLUSIVE MODE`); err != nil {
				return err
			}
			b := &pgx.Batch{}
			queueNewNonceKey(b)
			queueNonceKeys(b, &keys, &fresh)
			return tx.SendBatch(ctx, b).Close()
		})
	})
	if err != nil {
		return nil, s.metrics.count("make nonce key", storeError("make nonce key", err))
	}
	return keys, nil
}

// queueNonceKeys queues the reading of the live keys; fresh says that the newest
// needs no successor.
func queueNonceKeys(b *pgx.Batch, keys *[]acme.NonceKey, fresh *bool) {
	b.Queue(`
		SELECT id, secret, created_at > clock_timestamp() - $1::interval FROM nonce_keys
		WHERE created_at > clock_timestamp() - $2::interval
		ORDER BY created_at DESC, id`, nonceKeyRenewal, nonceKeyLifetime,
	).Query(func(rows pgx.Rows) error {
		*keys, *fresh = nil, false
		for rows.Next() {
			var id int64
			var secret []byte
			var young bool
			if err := rows.Scan(&id, &secret, &young); err != nil {
				return err
			}
			*fresh = *fresh || young
			*keys = append(*keys, acme.NonceKey{ID: uint32(id), Secret: [32]byte(secret)})
		}
		return rows.Err()
	})
}

// queueNewNonceKey queues the making of a key, where there is no fresh one, and
// the end of the dead ones.
func queueNewNonceKey(b *pgx.Batch) {
	var random [36]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	unhurried(b)
	b.Queue(`DELETE FROM nonce_keys WHERE created_at <= clock_timestamp() - $1::interval`, nonceKeyLifetime)
	b.Queue(`
		INSERT INTO nonce_keys (id, secret)
		SELECT $1::bigint, $2::bytea
		WHERE NOT EXISTS (SELECT FROM nonce_keys WHERE created_at > clock_timestamp() - $3::interval)`,
		int64(binary.BigEndian.Uint32(random[:])), random[4:], nonceKeyRenewal)
}
