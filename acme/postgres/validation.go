package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// StartValidation takes a challenge of a pending authorization that has not
// expired from pending to processing, and leases the validation to the caller.
// Where the challenge is past pending it returns the authorization as it is. A
// type that was not offered is [acme.ErrNotFound]. Every response to a challenge of
// an authorization that is pending owes the spends, whether or not it starts
// anything. One round trip, which waits for no disk: a crash of the database within its
// 600 ms makes the challenge pending again, and clients respond to that once more.
// A second one where nothing was started.
func (s *Store) StartValidation(ctx context.Context, by *acme.Proof, authorization acme.ID, t acme.ChallengeType,
	lease time.Duration, spends []acme.Spend,
) (*acme.Authorization, *acme.Validation, error) {
	b, a := writingUnhurried(by), new(acme.Authorization)
	account, mark := by.Account, acme.NewID()
	var started bool
	var thumbprint []byte
	var former [][]byte
	paid := s.queueSpends(b, spends, account, `EXISTS (
		SELECT FROM authorizations WHERE id = $11 AND account_id = $1 AND status = 'pending' AND $12 = ANY (challenge_types))`,
		uuidOf(authorization), string(t))
	b.Queue(`
		UPDATE authorizations a
		SET challenge_type = $3, lease = $4, due_at = now() + $5::interval, attempts = 1
		FROM accounts c
		WHERE a.id = $1 AND a.account_id = $2 AND a.status = 'pending' AND a.challenge_type IS NULL
			AND $3 = ANY (a.challenge_types) AND a.expires_at > now() AND c.id = a.account_id AND `+notRefused+`
		RETURNING `+authorizationColumns+`, c.key_thumbprint, c.former_thumbprints`,
		uuidOf(authorization), uuidOf(account), string(t), uuidOf(mark), lease).
		QueryRow(optional(&started, func(row pgx.Row) error { return scanAuthorization(row, a, &thumbprint, &former) }))
	switch err := paid.settle(s.sendBy(ctx, "start validation", by, b)); {
	case err != nil:
		return nil, nil, err
	case !started:
		a, err = s.startedBefore(ctx, account, authorization, t)
		return a, nil, err
	}
	v := a.Validation(t, acme.Thumbprint(thumbprint))
	v.FormerKeys, v.Lease = thumbprintsOf(former), mark
	return a, v, nil
}

// startedBefore returns an authorization whose challenge was not started because it
// is past pending, or says why it was not.
func (s *Store) startedBefore(ctx context.Context, account, authorization acme.ID, t acme.ChallengeType) (*acme.Authorization, error) {
	a, expired, err := s.lookAt(ctx, account, authorization)
	if err != nil {
		return nil, err
	}
	switch challenge := a.Challenge(t); {
	case challenge == nil:
		return nil, fmt.Errorf("challenge %q of authorization %s: %w", acme.Excerpt(string(t)), authorization, acme.ErrNotFound)
	case challenge.Status != acme.ChallengePending:
		return a, nil
	default:
		return nil, authorizationState(a, expired)
	}
}

// claim leases validations. Whose turn it is: of each account what is due for longest
// comes first, and stands behind as many others as the account has in flight, at all
// replicas. So whoever has ten thousand names to be validated holds up nobody who has
// one. Of the accounts with something due 64 are looked at, beginning after another
// one each time; and four times as many validations as are wanted, so that replicas
// which ask at the same moment do not find only each other's.
const claim = `
	WITH turns AS MATERIALIZED (
		SELECT own.id, own.due_at, own.place + busy.n AS turn
		FROM queued_accounts($4, 64) AS q (account_id),
		LATERAL (
			SELECT count(*) AS n FROM (
				SELECT FROM authorizations WHERE account_id = q.account_id AND due_at > now() LIMIT 1000) in_flight) busy,
		LATERAL (
			SELECT id, due_at, row_number() OVER (ORDER BY due_at) AS place FROM (
				SELECT id, due_at FROM authorizations
				WHERE account_id = q.account_id AND due_at <= now()
				ORDER BY due_at LIMIT 4 * $1::bigint) due) own
		ORDER BY turn, due_at LIMIT 4 * $1::bigint),
	mine AS MATERIALIZED (
		SELECT a.id FROM turns t JOIN authorizations a ON a.id = t.id
		WHERE a.due_at <= now()
		ORDER BY t.turn, t.due_at LIMIT $1::bigint
		FOR UPDATE OF a SKIP LOCKED)
	UPDATE authorizations a
	SET lease = $2, due_at = now() + $3::interval, attempts = a.attempts + 1
	FROM mine, accounts c
	WHERE a.id = mine.id AND c.id = a.account_id
	RETURNING a.id, a.account_id, c.key_thumbprint, c.former_thumbprints, a.identifier_type, a.identifier_value, a.wildcard,
		a.challenge_type, a.token, a.attempts`

// ClaimValidations leases up to limit validations to the caller, and counts an attempt
// of each: those that were given back, and those whose holder let the lease run out.
// One round trip, which waits for no disk; where nothing is due it writes nothing.
func (s *Store) ClaimValidations(ctx context.Context, limit int, lease time.Duration) ([]*acme.Validation, error) {
	var claimed []*acme.Validation
	mark := acme.NewID()
	b := &pgx.Batch{}
	unhurried(b)
	var after acme.ID
	if last := s.claimed.Load(); last != nil {
		after = *last
	}
	b.Queue(claim, limit, uuidOf(mark), lease, pgtype.UUID{Bytes: after, Valid: true}).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			v := &acme.Validation{Lease: mark}
			var thumbprint []byte
			var former [][]byte
			err := rows.Scan((*[16]byte)(&v.AuthorizationID), (*[16]byte)(&v.AccountID), &thumbprint, &former,
				(*string)(&v.Identifier.Type), &v.Identifier.Value, &v.Wildcard, (*string)(&v.Type), &v.Token, &v.Attempt)
			if err != nil {
				return err
			}
			v.Thumbprint, v.FormerKeys = acme.Thumbprint(thumbprint), thumbprintsOf(former)
			claimed = append(claimed, v)
		}
		return rows.Err()
	})
	if err := s.send(ctx, "claim validations", b); err != nil {
		return nil, err
	}
	if n := len(claimed); n > 0 {
		s.claimed.Store(&claimed[n-1].AccountID)
	}
	return claimed, nil
}

// thumbprintsOf translates thumbprints; nil where there are none.
func thumbprintsOf(columns [][]byte) []acme.Thumbprint {
	var all []acme.Thumbprint
	for _, c := range columns {
		all = append(all, acme.Thumbprint(c))
	}
	return all
}

// lockOrderOf locks the order that an authorization was made for.
const lockOrderOf = `SELECT FROM orders WHERE id = (SELECT order_id FROM authorizations WHERE id = $1) FOR UPDATE`

// proved ends a validation that succeeded: SET and WHERE have more to them. Its order
// is ready once all the others that it needs are valid too; they are looked at from the
// last, as most clients prove them from the first, so that of a hundred one look is enough.
const proved = `
	recorded AS (
		UPDATE authorizations a
		SET status = 'valid', challenge_error = NULL, due_at = NULL, lease = NULL, validated_at = now(), %s
			expires_at = least(greatest(a.expires_at, a.created_at + $6::interval), $3::timestamptz)
		%s a.id = $1 AND a.status = 'pending'
		RETURNING ` + authorizationColumns + `),
	readied AS (
		UPDATE orders o SET status = 'ready'
		FROM recorded
		WHERE o.id = recorded.order_id AND o.status = 'pending' AND NOT EXISTS (
			SELECT FROM generate_subscripts(o.authorization_ids, 1, true) AS place
			LEFT JOIN authorizations other ON other.id = o.authorization_ids[place]
			WHERE o.authorization_ids[place] <> $1 AND other.status IS DISTINCT FROM 'valid')
		RETURNING o.id),
	forgotten AS (
		DELETE FROM limits USING recorded WHERE limits.name = $4 AND limits.subject = $5)
	SELECT *, EXISTS (SELECT FROM readied) FROM recorded`

// recordValid ends a validation that the holder of its lease has proved.
var recordValid = `WITH` + fmt.Sprintf(proved, ``, `WHERE a.lease = $2 AND`)

// What recordFirst sets, and of what: a challenge of which nothing was stored.
const (
	attempted   = `challenge_type = $2, attempts = 1,`
	unattempted = `a.account_id = $7 AND a.challenge_type IS NULL AND $2 = ANY (a.challenge_types) AND a.expires_at > now() AND`
)

// recordFirst ends a validation that was proved before anything of it was stored.
var recordFirst = `WITH` + fmt.Sprintf(proved, attempted, `WHERE `+unattempted)

// recordAlone is recordFirst for an order that needs nothing else: it locks the order
// itself, as what others do at the same time need not be seen.
var recordAlone = `WITH alone AS MATERIALIZED (SELECT id FROM orders WHERE id = $8 FOR UPDATE),` +
	fmt.Sprintf(proved, attempted, `FROM alone WHERE a.order_id = alone.id AND `+unattempted)

// shortened has an order end with an authorization that was made to end before it.
const shortened = `
	UPDATE orders o SET expires_at = a.expires_at
	FROM authorizations a
	WHERE a.id = $1 AND a.status = 'valid' AND o.id = a.order_id AND o.status IN ('pending', 'ready') AND a.expires_at < o.expires_at`

// recordInvalid ends a validation that failed, and its order with the same problem.
const recordInvalid = `
	WITH recorded AS (
		UPDATE authorizations a
		SET status = 'invalid', challenge_error = $3, due_at = NULL, lease = NULL
		WHERE a.id = $1 AND a.lease = $2 AND a.status = 'pending'
		RETURNING ` + authorizationColumns + `),
	ended AS (
		UPDATE orders o SET status = 'invalid', error = $3
		FROM recorded
		WHERE o.id = recorded.order_id AND o.status = 'pending')
	SELECT *, false FROM recorded`

// RecordValidation ends a validation whose lease v still has: the challenge and its
// authorization become valid where problem is nil, else invalid, and with them the
// order ready, once its last authorization is valid, or invalid. A lease that
// another took over is an [acme.StateError]. A failure takes the spends, which must
// be [acme.Spend.Recorded]: it cannot be refused. A success ends the row of failures
// of its account and identifier. One round trip, and one more where the lease is
// gone; the commit waits for the disk.
//
// The order is locked before anything is looked at: of two replicas that record
// the last two authorizations of one order at the same time, the second sees the
// result of the first. A proof that ends before the authorization and the order
// has both end with it; one that is of use for longer has the authorization last.
func (s *Store) RecordValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, spends []acme.Spend) (acme.Challenge, error) {
	b, id, lease := &pgx.Batch{}, uuidOf(v.AuthorizationID), uuidOf(v.Lease)
	b.Queue(lockOrderOf, id)
	statement, args := recordValid, proofOf(v, lease)
	if problem != nil {
		s.queueSpends(b, spends, v.AccountID, `EXISTS (SELECT FROM authorizations WHERE id = $11 AND lease = $12 AND status = 'pending')`,
			id, lease)
		statement, args = recordInvalid, []any{id, lease, problem}
	}
	c := queueChange(b, statement, args...)
	if problem == nil && !v.Until.IsZero() {
		b.Queue(shortened, id)
	}
	if err := s.sendLeased(ctx, "record validation", b, v, c); err != nil {
		return acme.Challenge{}, err
	}
	s.noteProved(v, c)
	return *c.authorization.Challenge(v.Type), nil
}

// Prove has the challenge of an authorization that this replica made with an order
// attempted before anything of it is stored, and where that proves it, the challenge and
// the authorization become valid as by RecordValidation. One round trip, and the commit
// waits for the disk. Whoever is not answered by that has been told nothing: if this
// process dies meanwhile the challenge is pending, as it was.
//
// It returns nil, and StartValidation is to be asked, where the replica knows no such
// authorization, another call was the first, nothing was proved, or the authorization is
// another by now: only in the last case was the nonce taken.
func (s *Store) Prove(ctx context.Context, by *acme.Proof, authorization acme.ID, t acme.ChallengeType, prove acme.ProveFunc) (*acme.Authorization, error) {
	a, v := s.memory.takePending(by, authorization, t)
	if v == nil || !prove(ctx, v) {
		return nil, nil
	}
	b, id := writing(by), uuidOf(v.AuthorizationID)
	statement, args := recordAlone, append(proofOf(v, string(t)), uuidOf(v.AccountID), uuidOf(a.OrderID))
	if !a.alone {
		b.Queue(lockOrderOf, id)
		statement, args = recordFirst, args[:7]
	}
	c := queueChange(b, statement, args...)
	if !v.Until.IsZero() {
		b.Queue(shortened, id)
	}
	if err := s.sendBy(ctx, "record first validation", by, b); err != nil || !c.changed {
		return nil, err
	}
	s.noteProved(v, c)
	return &c.authorization, nil
}

// proofOf returns the first parameters of the statements that record a proof; by is the
// second, the lease or what was not leased.
func proofOf(v *acme.Validation, by any) []any {
	return []any{
		uuidOf(v.AuthorizationID), by, timeOf(v.Until), string(acme.PauseAfterConsecutiveFailures),
		acme.IdentifierSubject(v.AccountID, v.Identifier), v.Lasts,
	}
}

// noteProved notes what a proof has changed of an order.
func (s *Store) noteProved(v *acme.Validation, c *change) {
	switch {
	case !v.Until.IsZero():
		s.memory.forget(c.authorization.OrderID)
	case c.readied:
		s.memory.readied(c.authorization.OrderID)
	}
}

// RetryValidation gives the lease of v back: the validation is due after the given
// time, and the challenge, still processing, shows the problem. Where that is nil
// nothing was attempted: the attempt is not counted, and the problem of the one
// before stays. A lease that another took over is an [acme.StateError]. One round
// trip, which waits for no disk.
func (s *Store) RetryValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, after time.Duration) error {
	b := &pgx.Batch{}
	unhurried(b)
	c := queueChange(b, `
		UPDATE authorizations a
		SET lease = NULL, due_at = now() + $3::interval, challenge_error = coalesce($4, a.challenge_error),
			attempts = a.attempts - CASE WHEN $4 IS NULL THEN 1 ELSE 0 END
		WHERE a.id = $1 AND a.lease = $2 AND a.status = 'pending'
		RETURNING `+authorizationColumns+`, false`,
		uuidOf(v.AuthorizationID), uuidOf(v.Lease), after, problemOf(problem))
	return s.sendLeased(ctx, "retry validation", b, v, c)
}

// change is what a statement changed of an authorization.
type change struct {
	authorization acme.Authorization
	changed       bool
	readied       bool // its order became ready
}

// queueChange queues a statement that returns the authorization that it changes, where
// it changes one, and whether its order became ready by that.
func queueChange(b *pgx.Batch, statement string, args ...any) *change {
	c := new(change)
	b.Queue(statement, args...).
		QueryRow(optional(&c.changed, func(row pgx.Row) error { return scanAuthorization(row, &c.authorization, &c.readied) }))
	return c
}

// sendLeased sends a change that only the holder of a lease may make. Where nothing
// was changed, a second round trip finds out why.
func (s *Store) sendLeased(ctx context.Context, what string, b *pgx.Batch, v *acme.Validation, c *change) error {
	if err := s.send(ctx, what, b); err != nil || c.changed {
		return err
	}
	a, _, err := s.lookAt(ctx, v.AccountID, v.AuthorizationID)
	switch {
	case err != nil:
		return err
	case a.Status == acme.AuthorizationPending:
		return &acme.StateError{Object: "authorization", ID: a.ID, State: "leased to another"}
	default:
		return authorizationState(a, false)
	}
}
