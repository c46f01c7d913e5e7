package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// StartValidation takes a challenge of a pending authorization that has not
// expired from pending to processing, and leases the validation to the caller.
// Where the challenge is past pending it returns the authorization as it is. A
// type that was not offered is [acme.ErrNotFound]. Every response to a challenge of
// an authorization that is pending owes the spends, whether or not it starts
// anything. One round trip, which waits for no disk: a crash of the database within its 600 ms makes the challenge
// pending again, and clients respond to that once more.
func (s *Store) StartValidation(ctx context.Context, by *acme.Proof, authorization acme.ID, t acme.ChallengeType,
	lease time.Duration, spends []acme.Spend,
) (*acme.Authorization, *acme.Validation, error) {
	b, a := &pgx.Batch{}, new(acme.Authorization)
	account := by.Account
	var found, started, expired bool
	var thumbprint []byte
	var former [][]byte
	mark := acme.NewID()
	unhurried(b)
	queueProof(b, by)
	paid := s.queueSpends(b, spends, account, `EXISTS (
		SELECT FROM authorizations WHERE id = $10 AND account_id = $1 AND status = 'pending' AND $11 = ANY (challenge_types))`,
		uuidOf(authorization), string(t))
	b.Queue(`
		UPDATE authorizations a
		SET challenge_type = $3, lease = $4, due_at = now() + $5::interval, attempts = 1
		FROM accounts c
		WHERE a.id = $1 AND a.account_id = $2 AND a.status = 'pending' AND a.challenge_type IS NULL
			AND $3 = ANY (a.challenge_types) AND a.expires_at > now() AND c.id = a.account_id AND `+notRefused+`
		RETURNING c.key_thumbprint, c.former_thumbprints`,
		uuidOf(authorization), uuidOf(account), string(t), uuidOf(mark), lease).
		QueryRow(optional(&started, func(row pgx.Row) error { return row.Scan(&thumbprint, &former) }))
	queueAuthorization(b, account, authorization, a, &found, &expired)
	if err := paid.settle(s.sendBy(ctx, "start validation", by, b)); err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, notFound("authorization", authorization)
	}
	challenge := a.Challenge(t)
	switch {
	case challenge == nil:
		return nil, nil, fmt.Errorf("challenge %q of authorization %s: %w", acme.Excerpt(string(t)), authorization, acme.ErrNotFound)
	case started:
		return a, &acme.Validation{
			AuthorizationID: a.ID, AccountID: a.AccountID, Thumbprint: acme.Thumbprint(thumbprint), FormerKeys: thumbprintsOf(former),
			Identifier: a.Identifier, Wildcard: a.Wildcard, Type: t, Token: a.Token, Attempt: 1, Lease: mark,
		}, nil
	case challenge.Status != acme.ChallengePending:
		return a, nil, nil
	default:
		return nil, nil, authorizationState(a, expired)
	}
}

// ClaimValidations leases up to limit validations to the caller, those that are
// due for longest first, and counts an attempt of each: those that were given
// back, and those whose holder let the lease run out. One round trip, which waits
// for no disk; where nothing is due it writes nothing.
func (s *Store) ClaimValidations(ctx context.Context, limit int, lease time.Duration) ([]*acme.Validation, error) {
	var claimed []*acme.Validation
	mark := acme.NewID()
	b := &pgx.Batch{}
	unhurried(b)
	b.Queue(`
		WITH due AS MATERIALIZED (
			SELECT id FROM authorizations
			WHERE due_at <= now()
			ORDER BY due_at LIMIT $1
			FOR UPDATE SKIP LOCKED)
		UPDATE authorizations a
		SET lease = $2, due_at = now() + $3::interval, attempts = a.attempts + 1
		FROM due, accounts c
		WHERE a.id = due.id AND c.id = a.account_id
		RETURNING a.id, a.account_id, c.key_thumbprint, c.former_thumbprints, a.identifier_type, a.identifier_value, a.wildcard,
			a.challenge_type, a.token, a.attempts`, limit, uuidOf(mark), lease,
	).Query(func(rows pgx.Rows) error {
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

// madeReady makes an order ready once all its authorizations are valid; madeInvalid
// ends it with the problem of the one that failed; madeShorter has it end with an
// authorization that was made to end before it.
const (
	madeShorter = `
		UPDATE orders o SET expires_at = a.expires_at
		FROM authorizations a
		WHERE a.id = $1 AND a.status = 'valid' AND o.id = a.order_id AND o.status = 'pending' AND a.expires_at < o.expires_at`
	madeReady = `
		UPDATE orders o SET status = 'ready'
		WHERE o.id = (SELECT order_id FROM authorizations WHERE id = $1) AND o.status = 'pending'
			AND NOT EXISTS (
				SELECT FROM unnest(o.authorization_ids) AS needed (id)
				LEFT JOIN authorizations a ON a.id = needed.id
				WHERE a.status IS DISTINCT FROM 'valid')`
	madeInvalid = `
		UPDATE orders o SET status = 'invalid', error = $2
		WHERE o.id = (SELECT order_id FROM authorizations WHERE id = $1 AND status = 'invalid') AND o.status = 'pending'`
)

// RecordValidation ends a validation whose lease v still has: the challenge and its
// authorization become valid where problem is nil, else invalid, and with them the
// order ready, once its last authorization is valid, or invalid. A lease that
// another took over is an [acme.StateError]. A failure takes the spends, which must
// be dry: it cannot be refused. A success ends the row of failures of its account
// and identifier. One round trip; the commit waits for the disk.
//
// The order is locked before anything is looked at: of two replicas that record
// the last two authorizations of one order at the same time, the second sees the
// result of the first. A proof that ends before the authorization and the order
// has both end with it.
func (s *Store) RecordValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, spends []acme.Spend) (acme.Challenge, error) {
	status := acme.AuthorizationValid
	if problem != nil {
		status = acme.AuthorizationInvalid
	}
	b, id := &pgx.Batch{}, uuidOf(v.AuthorizationID)
	b.Queue(`SELECT FROM orders WHERE id = (SELECT order_id FROM authorizations WHERE id = $1) FOR UPDATE`, id)
	if problem != nil {
		s.queueSpends(b, spends, v.AccountID, `EXISTS (SELECT FROM authorizations WHERE id = $10 AND lease = $11 AND status = 'pending')`,
			id, uuidOf(v.Lease))
	}
	queue := func(recorded *bool) {
		b.Queue(`
			UPDATE authorizations
			SET status = $3, challenge_error = $4, due_at = NULL, lease = NULL,
				validated_at = CASE WHEN $3 = 'valid' THEN now() END, expires_at = least(expires_at, $5::timestamptz)
			WHERE id = $1 AND lease = $2 AND status = 'pending'`, id, uuidOf(v.Lease), string(status), problemOf(problem), timeOf(v.Until)).
			Exec(changed(recorded))
		if problem == nil {
			if !v.Until.IsZero() {
				b.Queue(madeShorter, id)
			}
			b.Queue(madeReady, id)
			b.Queue(forgetFailures, string(acme.PauseAfterConsecutiveFailures), acme.IdentifierSubject(v.AccountID, v.Identifier))
		} else {
			b.Queue(madeInvalid, id, problem)
		}
	}
	a, err := s.endLease(ctx, "record validation", b, v, queue)
	if err != nil {
		return acme.Challenge{}, err
	}
	return *a.Challenge(v.Type), nil
}

// RetryValidation gives the lease of v back: the validation is due after the given
// time, and the challenge, still processing, shows the problem. Where that is nil
// nothing was attempted: the attempt is not counted, and the problem of the one
// before stays. A lease that another took over is an [acme.StateError]. One round
// trip, which waits for no disk.
func (s *Store) RetryValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, after time.Duration) error {
	b := &pgx.Batch{}
	unhurried(b)
	_, err := s.endLease(ctx, "retry validation", b, v, func(retried *bool) {
		b.Queue(`
			UPDATE authorizations
			SET lease = NULL, due_at = now() + $3::interval, challenge_error = coalesce($4, challenge_error),
				attempts = attempts - CASE WHEN $4 IS NULL THEN 1 ELSE 0 END
			WHERE id = $1 AND lease = $2 AND status = 'pending'`,
			uuidOf(v.AuthorizationID), uuidOf(v.Lease), after, problemOf(problem)).
			Exec(changed(retried))
	})
	return err
}

// endLease sends a change that only the holder of a lease may make, with a look at
// the authorization.
func (s *Store) endLease(ctx context.Context, what string, b *pgx.Batch, v *acme.Validation,
	queue func(ended *bool),
) (*acme.Authorization, error) {
	a := new(acme.Authorization)
	var found, ended bool
	queue(&ended)
	queueAuthorization(b, v.AccountID, v.AuthorizationID, a, &found, nil)
	if err := s.send(ctx, what, b); err != nil {
		return nil, err
	}
	switch {
	case !found:
		return nil, notFound("authorization", v.AuthorizationID)
	case ended:
		return a, nil
	case a.Status == acme.AuthorizationPending:
		return nil, &acme.StateError{Object: "authorization", ID: a.ID, State: "leased to another"}
	default:
		return nil, authorizationState(a, false)
	}
}
