package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// orderColumns is what scanOrder scans.
const orderColumns = `o.id, o.account_id, o.status, o.identifiers, o.not_before, o.not_after, o.profile, o.replaces,
	o.authorization_ids, o.error, o.expires_at, o.created_at`

// scanOrder reads a row that begins with orderColumns; more takes what follows.
func scanOrder(row pgx.Row, o *acme.Order, more ...any) error {
	var notBefore, notAfter pgtype.Timestamptz
	var replaces pgtype.Text
	var authorizations []pgtype.UUID
	err := row.Scan(append([]any{
		(*[16]byte)(&o.ID), (*[16]byte)(&o.AccountID), (*string)(&o.Status), &o.Identifiers,
		&notBefore, &notAfter, &o.Profile, &replaces, &authorizations, &o.Error, &o.ExpiresAt, &o.CreatedAt,
	},
		more...)...)
	o.NotBefore, o.NotAfter, o.Replaces = notBefore.Time, notAfter.Time, replaces.String
	o.Authorizations = idsOf(authorizations)
	return err
}

// validating is whether a pending order waits for nothing but validations. What is not
// valid and not pending has ended the order, or will. The question is in the result, and
// not a condition: so no index but that of the IDs can answer it.
const validating = `CASE WHEN o.status = 'pending' THEN coalesce((
		SELECT bool_and(a.status = 'valid' OR a.due_at IS NOT NULL) FROM authorizations a
		WHERE a.id = ANY (o.authorization_ids)), false) ELSE false END`

// Order reads an order of an account, and whether it waits for validations. One round
// trip.
func (s *Store) Order(ctx context.Context, by *acme.Proof, order acme.ID) (*acme.Order, error) {
	b, o, found := reading(by), new(acme.Order), false
	b.Queue(`SELECT `+orderColumns+`, `+validating+` FROM orders o WHERE o.id = $1 AND o.account_id = $2`, uuidOf(order), uuidOf(by.Account)).
		QueryRow(optional(&found, func(row pgx.Row) error { return scanOrder(row, o, &o.Validating) }))
	if err := s.sendBy(ctx, "read order", by, b); err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound("order", order)
	}
	return o, nil
}

// unfinishedOf is the account of an order that is pending or ready, and null of any
// other: what orders_unfinished_account is an index of.
const unfinishedOf = `CASE WHEN status IN ('pending', 'ready') THEN account_id END`

// UnfinishedOrders lists the pending and ready orders of an account by ID, those
// after the given one. One round trip.
func (s *Store) UnfinishedOrders(ctx context.Context, account, after acme.ID, limit int) ([]acme.ID, error) {
	b := &pgx.Batch{}
	var ids []pgtype.UUID
	b.Queue(`
		SELECT id FROM orders
		WHERE `+unfinishedOf+` = $1 AND id > $2 AND expires_at > now()
		ORDER BY id LIMIT $3`, uuidOf(account), pgtype.UUID{Bytes: after, Valid: true}, limit).
		Query(func(rows pgx.Rows) (err error) {
			ids, err = pgx.CollectRows(rows, pgx.RowTo[pgtype.UUID])
			return err
		})
	if err := s.send(ctx, "list orders", b); err != nil {
		return nil, err
	}
	return idsOf(ids), nil
}

// insertOrder adds an order of a valid account and its new authorizations. One that is
// ready although it uses none again is of a server that trusts the account.
const insertOrder = `
	created AS (
		INSERT INTO orders (id, account_id, status, identifiers, authorization_ids, profile, replaces,
			not_before, not_after, error, expires_at, created_at, trusted)
		SELECT $1::uuid, $2::uuid, $3::text, $4::json, $5::uuid[], $6::text, $7::text,
			$8::timestamptz, $9::timestamptz, $10::json, $11::timestamptz, $12::timestamptz, %s
		WHERE ` + notRefused + ` AND EXISTS (SELECT FROM accounts WHERE id = $2 AND status = 'valid')
		%s
		RETURNING id),
	authorized AS (
		INSERT INTO authorizations (id, account_id, order_id, identifier_type, identifier_value, wildcard, status,
			token, challenge_types, expires_at, created_at)
		SELECT a.id, $2, created.id, a.type, a.value, a.wildcard, a.status,
			a.token, string_to_array(a.offered, ','), a.expires_at, a.created_at
		FROM created, unnest($13::uuid[], $14::text[], $15::text[], $16::boolean[], $17::text[],
			$18::text[], $19::text[], $20::timestamptz[], $21::timestamptz[])
			AS a (id, type, value, wildcard, status, token, offered, expires_at, created_at))
	SELECT EXISTS (SELECT FROM created), (SELECT status FROM accounts WHERE id = $2)`

// createOrder adds an order that uses no authorization again.
var createOrder = `WITH` + fmt.Sprintf(insertOrder, `$3 = 'ready'`, ``) + `, NULL::uuid`

// createOrderAgain adds an order where each authorization that it uses again is the
// account's, valid, not expired, and was proved. Those are share-locked: whoever deactivates one
// at the same time sees the order or is seen by it. They are found by nothing but
// their ID: of one account there may be any number that are valid.
var createOrderAgain = `
	WITH found AS MATERIALIZED (
		SELECT id, account_id, status, expires_at, validated_at FROM authorizations
		WHERE id = ANY ($22::uuid[])
		ORDER BY id FOR SHARE),
	reused AS MATERIALIZED (
		SELECT id FROM found WHERE account_id = $2 AND status = 'valid' AND expires_at > now() AND validated_at IS NOT NULL),` +
	fmt.Sprintf(insertOrder, `false`, `AND (SELECT count(*) FROM reused) = cardinality($22::uuid[])`) + `,
		(SELECT u.id FROM unnest($22::uuid[]) AS u (id) WHERE u.id NOT IN (SELECT id FROM reused) LIMIT 1)`

// expireReplacing makes an order invalid that replaces a certificate and has expired,
// as a sweep would: another may replace it now. It is locked before authorizations
// are, as by DeactivateAuthorization.
const expireReplacing = `
	UPDATE orders SET status = 'invalid', error = $2
	WHERE replaces = $1 AND status <> 'invalid' AND status IN ('pending', 'ready') AND expires_at <= now()`

// CreateOrder adds an order of a valid account with the authorizations made for
// it. Those of the order that are not among them are used again: each must be the
// account's, valid, not expired and proved, or the error is a StateError that names it.
// It is paid for by spends, or not made. One round trip; the commit waits for the
// disk, and so do the next orders that one of the same limits is spent for.
func (s *Store) CreateOrder(ctx context.Context, by *acme.Proof, o *acme.Order, authorizations []*acme.Authorization, spends []acme.Spend) ([]acme.Quota, error) {
	var created bool
	var account pgtype.Text
	var unusable pgtype.UUID
	made := columnsOf(authorizations)
	b := writing(by)
	paid := s.queueSpends(b, spends, o.AccountID, `true`)
	if o.Replaces != "" {
		b.Queue(expireReplacing, o.Replaces, acme.OrderExpired())
	}
	statement, args := createOrder, []any{
		uuidOf(o.ID), uuidOf(o.AccountID), string(o.Status), o.Identifiers, uuidsOf(o.Authorizations), o.Profile,
		textOf(o.Replaces), timeOf(o.NotBefore), timeOf(o.NotAfter), problemOf(o.Error), o.ExpiresAt, o.CreatedAt,
		made.ids, made.types, made.values, made.wildcards, made.statuses, made.tokens, made.offered,
		made.expiresAt, made.createdAt,
	}
	reused := reusedBy(o, authorizations)
	if len(reused) > 0 {
		statement, args = createOrderAgain, append(args, uuidsOf(reused))
	}
	b.Queue(statement, args...).
		QueryRow(func(row pgx.Row) error { return row.Scan(&created, &account, &unusable) })
	paid.queueAbandon(b, `EXISTS (SELECT FROM orders WHERE id = $1)`, uuidOf(o.ID))
	var refused *pgconn.PgError
	switch err := paid.settle(s.sendBy(ctx, "create order", by, b)); {
	case errors.As(err, &refused) && refused.ConstraintName == "orders_replaces":
		return nil, &acme.StateError{Object: "certificate", State: "replaced"}
	case err != nil:
		return nil, err
	case created:
		s.memory.add(o, authorizations, len(reused) > 0)
		return paid.quotas, nil
	case !account.Valid:
		return nil, notFound("account", o.AccountID)
	case account.String != string(acme.AccountValid):
		return nil, &acme.StateError{Object: "account", ID: o.AccountID, State: account.String}
	case unusable.Valid:
		return nil, &acme.StateError{Object: "authorization", ID: unusable.Bytes, State: "not valid"}
	default: // the account's state changed between two looks of the statement
		return nil, fmt.Errorf("create order: %w", acme.ErrUnavailable)
	}
}

// reusedBy lists the authorizations of an order that are not made with it.
func reusedBy(o *acme.Order, made []*acme.Authorization) []acme.ID {
	return slices.DeleteFunc(slices.Clone(o.Authorizations), func(id acme.ID) bool {
		return slices.ContainsFunc(made, func(a *acme.Authorization) bool { return a.ID == id })
	})
}

// problemOf returns the parameter for a problem, which is null where there is none.
func problemOf(p *acme.Problem) any {
	if p == nil {
		return nil
	}
	return p
}
