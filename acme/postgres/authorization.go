package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// authorizationColumns is what scanAuthorization scans.
const authorizationColumns = `a.id, a.account_id, a.order_id, a.identifier_type, a.identifier_value, a.wildcard,
	a.status, a.token, a.challenge_types, a.challenge_type, a.challenge_error, a.validated_at, a.expires_at, a.created_at`

// scanAuthorization reads a row that begins with authorizationColumns; more takes
// what follows.
func scanAuthorization(row pgx.Row, a *acme.Authorization, more ...any) error {
	var order pgtype.UUID
	var offered []string
	var attempted pgtype.Text
	var problem *acme.Problem
	var validated pgtype.Timestamptz
	err := row.Scan(append([]any{
		(*[16]byte)(&a.ID), (*[16]byte)(&a.AccountID), &order, (*string)(&a.Identifier.Type),
		&a.Identifier.Value, &a.Wildcard, (*string)(&a.Status), &a.Token, &offered, &attempted, &problem, &validated,
		&a.ExpiresAt, &a.CreatedAt,
	}, more...)...)
	if err != nil {
		return err
	}
	a.OrderID = order.Bytes
	a.Challenges = make([]acme.Challenge, len(offered))
	for i, t := range offered {
		a.Challenges[i] = acme.Challenge{Type: acme.ChallengeType(t), Status: acme.ChallengePending}
		if t == attempted.String {
			a.Challenges[i].Status = attemptedStatus(a.Status, validated.Valid)
			a.Challenges[i].Error, a.Challenges[i].ValidatedAt = problem, validated.Time
		}
	}
	return nil
}

// attemptedStatus derives the state of the challenge that an authorization was
// attempted by (RFC 8555 §7.1.6). One whose authorization ended under it can
// never succeed any more.
func attemptedStatus(authorization acme.AuthorizationStatus, validated bool) acme.ChallengeStatus {
	switch {
	case validated:
		return acme.ChallengeValid
	case authorization == acme.AuthorizationPending:
		return acme.ChallengeProcessing
	default:
		return acme.ChallengeInvalid
	}
}

// queueAuthorization queues the look at an authorization of an account.
func queueAuthorization(b *pgx.Batch, account, id acme.ID, a *acme.Authorization, found *bool, more ...any) {
	b.Queue(`SELECT `+authorizationColumns+`, a.expires_at <= now() FROM authorizations a WHERE a.id = $1 AND a.account_id = $2`,
		uuidOf(id), uuidOf(account)).
		QueryRow(optional(found, func(row pgx.Row) error { return scanAuthorization(row, a, more...) }))
}

// Authorization reads an authorization of an account. One round trip. It returns
// the state as it was recorded: whether a pending or valid one has expired is for
// the caller to say.
func (s *Store) Authorization(ctx context.Context, by *acme.Proof, authorization acme.ID) (*acme.Authorization, error) {
	b, a, found := reading(by), new(acme.Authorization), false
	queueAuthorization(b, by.Account, authorization, a, &found, nil)
	if err := s.sendBy(ctx, "read authorization", by, b); err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound("authorization", authorization)
	}
	return a, nil
}

// lookAt reads an authorization of an account without a proof; expired says that its
// time has passed, whatever its state says. One round trip.
func (s *Store) lookAt(ctx context.Context, account, authorization acme.ID) (a *acme.Authorization, expired bool, err error) {
	b, found := &pgx.Batch{}, false
	a = new(acme.Authorization)
	queueAuthorization(b, account, authorization, a, &found, &expired)
	if err := s.send(ctx, "look at authorization", b); err != nil {
		return nil, false, err
	}
	if !found {
		return nil, false, notFound("authorization", authorization)
	}
	return a, expired, nil
}

// OrderAuthorizations returns an order of an account with those of its
// authorizations that are kept. One round trip.
func (s *Store) OrderAuthorizations(ctx context.Context, by *acme.Proof, order acme.ID) (*acme.Order, []*acme.Authorization, error) {
	b, o, found := reading(by), new(acme.Order), false
	var authorizations []*acme.Authorization
	b.Queue(`SELECT `+orderColumns+` FROM orders o WHERE id = $1 AND account_id = $2`, uuidOf(order), uuidOf(by.Account)).
		QueryRow(optional(&found, func(row pgx.Row) error { return scanOrder(row, o) }))
	b.Queue(`
		SELECT `+authorizationColumns+` FROM authorizations a
		WHERE a.account_id = $2 AND a.id = ANY ((SELECT authorization_ids FROM orders WHERE id = $1 AND account_id = $2)::uuid[])`,
		uuidOf(order), uuidOf(by.Account)).
		Query(collectAuthorizations(&authorizations))
	if err := s.sendBy(ctx, "read order with authorizations", by, b); err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, notFound("order", order)
	}
	return o, authorizations, nil
}

// collectAuthorizations returns a reader of rows of authorizationColumns.
func collectAuthorizations(into *[]*acme.Authorization) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			a := new(acme.Authorization)
			if err := scanAuthorization(rows, a); err != nil {
				return err
			}
			*into = append(*into, a)
		}
		return rows.Err()
	}
}

// CreateAuthorization adds a pre-authorization of a valid account (RFC 8555
// §7.4.1), paid for by spends, or not at all. One round trip; the commit waits for
// the disk.
func (s *Store) CreateAuthorization(ctx context.Context, a *acme.Authorization, spends []acme.Spend) ([]acme.Quota, error) {
	c := columnsOf([]*acme.Authorization{a})
	b := &pgx.Batch{}
	paid := s.queueSpends(b, spends, a.AccountID, `true`)
	var created bool
	var account pgtype.Text
	b.Queue(`
		INSERT INTO authorizations (id, account_id, identifier_type, identifier_value, wildcard, status,
			token, challenge_types, expires_at, created_at)
		SELECT $1::uuid, $2::uuid, $3::text, $4::text, $5::boolean, $6::text, $7::text, string_to_array($8::text, ','),
			$9::timestamptz, $10::timestamptz
		WHERE `+notRefused+` AND EXISTS (SELECT FROM accounts WHERE id = $2 AND status = 'valid')`,
		c.ids[0], uuidOf(a.AccountID), c.types[0], c.values[0], c.wildcards[0], c.statuses[0], c.tokens[0], c.offered[0],
		c.expiresAt[0], c.createdAt[0]).Exec(changed(&created))
	b.Queue(`SELECT (SELECT status FROM accounts WHERE id = $1)`, uuidOf(a.AccountID)).
		QueryRow(func(row pgx.Row) error { return row.Scan(&account) })
	paid.queueAbandon(b, `EXISTS (SELECT FROM authorizations WHERE id = $1)`, c.ids[0])
	switch err := paid.settle(s.send(ctx, "create authorization", b)); {
	case err != nil:
		return nil, err
	case created:
		return paid.quotas, nil
	case !account.Valid:
		return nil, notFound("account", a.AccountID)
	default:
		return nil, &acme.StateError{Object: "account", ID: a.AccountID, State: account.String}
	}
}

// ValidAuthorizations returns the valid authorizations of an account for the
// identifiers that were made after a time and last until another: for each the one
// that lasts longest. Where proved is true, those of which control was not proved are
// none. One round trip.
func (s *Store) ValidAuthorizations(ctx context.Context, account acme.ID, identifiers []acme.Identifier, madeAfter, lastUntil time.Time, proved bool) ([]*acme.Authorization, error) {
	types, values, wildcards := make([]string, len(identifiers)), make([]string, len(identifiers)), make([]bool, len(identifiers))
	for i, id := range identifiers {
		types[i], values[i], wildcards[i] = string(id.Type), id.Base().Value, id.IsWildcard()
	}
	b := &pgx.Batch{}
	var held []*acme.Authorization
	b.Queue(`
		SELECT `+authorizationColumns+`
		FROM unnest($2::text[], $3::text[], $4::boolean[]) AS wanted (type, value, wildcard),
		LATERAL (
			SELECT * FROM authorizations
			WHERE CASE WHEN status = 'valid' THEN account_id END = $1 AND identifier_value = wanted.value AND identifier_type = wanted.type
				AND wildcard = wanted.wildcard AND created_at >= $5 AND expires_at > $6
				AND (validated_at IS NOT NULL OR NOT $7::boolean)
			ORDER BY expires_at DESC LIMIT 1) a`,
		uuidOf(account), types, values, wildcards, madeAfter, lastUntil, proved).
		Query(collectAuthorizations(&held))
	if err := s.send(ctx, "read valid authorizations", b); err != nil {
		return nil, err
	}
	return held, nil
}

// DeactivateAuthorization gives up a pending or valid authorization that has not
// expired; the unfinished orders that need it become invalid (RFC 8555 §7.5.2).
// One round trip; the commit waits for the disk. It looks through the unfinished
// orders of the account, of which there may be thousands: the call is rare.
func (s *Store) DeactivateAuthorization(ctx context.Context, account, authorization acme.ID) (*acme.Authorization, error) {
	b, a := &pgx.Batch{}, new(acme.Authorization)
	var found, updated, expired bool
	id, owner := uuidOf(authorization), uuidOf(account)
	// The orders first: so does RecordValidation.
	b.Queue(`
		SELECT FROM orders
		WHERE `+unfinishedOf+` = $2 AND $1 = ANY (authorization_ids)
		ORDER BY id FOR UPDATE`, id, owner)
	b.Queue(`
		UPDATE authorizations SET status = 'deactivated', due_at = NULL, lease = NULL
		WHERE id = $1 AND account_id = $2 AND status IN ('pending', 'valid') AND expires_at > now()`, id, owner).
		Exec(changed(&updated))
	b.Queue(`
		UPDATE orders SET status = 'invalid', error = $3
		WHERE `+unfinishedOf+` = $2 AND $1 = ANY (authorization_ids)
			AND EXISTS (SELECT FROM authorizations WHERE id = $1 AND status = 'deactivated')`,
		id, owner, acme.Problemf(acme.Unauthorized, "an authorization of the order was deactivated"))
	queueAuthorization(b, account, authorization, a, &found, &expired)
	if err := s.send(ctx, "deactivate authorization", b); err != nil {
		return nil, err
	}
	switch {
	case !found:
		return nil, notFound("authorization", authorization)
	case !updated:
		return nil, authorizationState(a, expired)
	}
	return a, nil
}

// authorizationState returns the error for a change that the state of an
// authorization did not allow.
func authorizationState(a *acme.Authorization, expired bool) error {
	state := string(a.Status)
	if expired && (a.Status == acme.AuthorizationPending || a.Status == acme.AuthorizationValid) {
		state = string(acme.AuthorizationExpired)
	}
	return &acme.StateError{Object: "authorization", ID: a.ID, State: state}
}

// authorizationArrays has authorizations as one array for each column, which one
// INSERT unnests.
type authorizationArrays struct {
	ids                             []pgtype.UUID
	types, values, statuses, tokens []string
	offered                         []string // types joined by commas: arrays of arrays cannot be ragged
	wildcards                       []bool
	expiresAt, createdAt            []time.Time
}

// columnsOf returns authorizations by column.
func columnsOf(authorizations []*acme.Authorization) (c authorizationArrays) {
	for _, a := range authorizations {
		offered := make([]string, len(a.Challenges))
		for i := range a.Challenges {
			offered[i] = string(a.Challenges[i].Type)
		}
		c.ids = append(c.ids, uuidOf(a.ID))
		c.types = append(c.types, string(a.Identifier.Type))
		c.values = append(c.values, a.Identifier.Value)
		c.statuses = append(c.statuses, string(a.Status))
		c.tokens = append(c.tokens, a.Token)
		c.offered = append(c.offered, strings.Join(offered, ","))
		c.wildcards = append(c.wildcards, a.Wildcard)
		c.expiresAt = append(c.expiresAt, a.ExpiresAt)
		c.createdAt = append(c.createdAt, a.CreatedAt)
	}
	return c
}
