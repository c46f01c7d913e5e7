package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// selectAccount reads what scanAccount scans.
const selectAccount = `SELECT id, status, key, contact, terms_agreed, external_account_id, created_at FROM accounts `

// scanAccount reads a row of selectAccount.
func scanAccount(row pgx.Row, a *acme.Account) error {
	var external pgtype.Text
	err := row.Scan((*[16]byte)(&a.ID), (*string)(&a.Status), &a.Key, &a.Contact, &a.TermsOfServiceAgreed,
		&external, &a.CreatedAt)
	a.ExternalAccountID = external.String
	return err
}

// queueAccount queues the look at an account.
func queueAccount(b *pgx.Batch, id acme.ID, a *acme.Account, found *bool) {
	b.Queue(selectAccount+`WHERE id = $1`, uuidOf(id)).
		QueryRow(optional(found, func(row pgx.Row) error { return scanAccount(row, a) }))
}

// CreateAccount adds a, or returns the account that has its key already, for which
// nothing is spent. Of several callers with one key, one adds it and all return it.
// One round trip; the commit waits for the disk.
func (s *Store) CreateAccount(ctx context.Context, a *acme.Account, spends []acme.Spend) (account *acme.Account, created bool, quotas []acme.Quota, err error) {
	thumbprint, err := acme.ThumbprintOf(a.Key)
	if err != nil {
		return nil, false, nil, err
	}
	key, err := json.Marshal(a.Key)
	if err != nil {
		return nil, false, nil, fmt.Errorf("key of account %s: %w", a.ID, err)
	}
	contact := a.Contact
	if contact == nil {
		contact = []string{}
	}
	b := &pgx.Batch{}
	paid := s.queueSpends(b, spends, a.ID, `NOT EXISTS (SELECT FROM accounts WHERE key_thumbprint = $11)`, thumbprint[:])
	b.Queue(`
		INSERT INTO accounts (id, status, key_thumbprint, key, contact, terms_agreed, external_account_id, created_at)
		SELECT $1::uuid, $2::text, $3::bytea, $4::json, $5::text[], $6::boolean, $7::text, $8::timestamptz WHERE `+notRefused+`
		ON CONFLICT (key_thumbprint) DO NOTHING`,
		uuidOf(a.ID), string(a.Status), thumbprint[:], key, contact, a.TermsOfServiceAgreed, textOf(a.ExternalAccountID), a.CreatedAt,
	).Exec(changed(&created))
	account, found := new(acme.Account), false
	b.Queue(selectAccount+`WHERE key_thumbprint = $1`, thumbprint[:]).
		QueryRow(optional(&found, func(row pgx.Row) error { return scanAccount(row, account) }))
	// Where another caller was faster, nothing is owed.
	paid.queueAbandon(b, `EXISTS (SELECT FROM accounts WHERE id = $1)`, uuidOf(a.ID))
	if err := paid.settle(s.send(ctx, "create account", b)); err != nil {
		return nil, false, nil, err
	}
	if !found { // the one that stood in the way was deleted between the statements
		return nil, false, nil, fmt.Errorf("create account: %w", acme.ErrUnavailable)
	}
	return account, created, paid.quotas, nil
}

// AccountByKey reads the account that has a key, whatever its state. One round trip.
func (s *Store) AccountByKey(ctx context.Context, key acme.Thumbprint) (*acme.Account, error) {
	b, a, found := &pgx.Batch{}, new(acme.Account), false
	b.Queue(selectAccount+`WHERE key_thumbprint = $1`, key[:]).
		QueryRow(optional(&found, func(row pgx.Row) error { return scanAccount(row, a) }))
	if err := s.send(ctx, "read account", b); err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("account with key %s: %w", key, acme.ErrNotFound)
	}
	return a, nil
}

// Accounts lists all accounts, in the order in which they were made. One round trip for
// a thousand.
func (s *Store) Accounts(ctx context.Context) iter.Seq2[*acme.Account, error] {
	return list(ctx, s, "list accounts", selectAccount, scanAccount, func(a *acme.Account) acme.ID { return a.ID })
}

// UpdateContact replaces the contacts of a valid account. One round trip; the
// commit waits for the disk.
func (s *Store) UpdateContact(ctx context.Context, account acme.ID, contact []string) (*acme.Account, error) {
	if contact == nil {
		contact = []string{}
	}
	b := &pgx.Batch{}
	var updated bool
	b.Queue(`UPDATE accounts SET contact = $2 WHERE id = $1 AND status = 'valid'`, uuidOf(account), contact).
		Exec(changed(&updated))
	return s.changeAccount(ctx, "update contact", b, account, &updated)
}

// DeactivateAccount ends a valid account, as its owner asks, and makes its unfinished
// orders invalid (RFC 8555 §7.3.6). One round trip; the commit waits for the disk.
//
// An order that is being created at the same time may be missed: FinalizeOrder
// asks for the account's state again.
func (s *Store) DeactivateAccount(ctx context.Context, account acme.ID) (*acme.Account, error) {
	return s.endAccount(ctx, account, acme.AccountDeactivated, "the account was deactivated")
}

// RevokeAccount ends a valid account, as DeactivateAccount does, because the authority
// decided so (RFC 8555 §7.1.2). Its certificates stay as they are.
func (s *Store) RevokeAccount(ctx context.Context, account acme.ID) (*acme.Account, error) {
	return s.endAccount(ctx, account, acme.AccountRevoked, "the account was revoked")
}

// endAccount takes a valid account to its last state, and its unfinished orders with it.
func (s *Store) endAccount(ctx context.Context, account acme.ID, status acme.AccountStatus, detail string) (*acme.Account, error) {
	b := &pgx.Batch{}
	var updated bool
	b.Queue(`UPDATE accounts SET status = $2 WHERE id = $1 AND status = 'valid'`, uuidOf(account), string(status)).
		Exec(changed(&updated))
	b.Queue(`
		WITH unfinished AS MATERIALIZED (
			SELECT id FROM orders
			WHERE `+unfinishedOf+` = $1
				AND EXISTS (SELECT FROM accounts WHERE id = $1 AND status = $3)
			ORDER BY id FOR UPDATE)
		UPDATE orders SET status = 'invalid', error = $2
		FROM unfinished WHERE orders.id = unfinished.id`,
		uuidOf(account), acme.Problemf(acme.Unauthorized, "%s", detail), string(status))
	return s.changeAccount(ctx, "end account", b, account, &updated)
}

// changeAccount sends the change of a valid account with a look at it.
func (s *Store) changeAccount(ctx context.Context, what string, b *pgx.Batch, id acme.ID, updated *bool) (*acme.Account, error) {
	a, found := new(acme.Account), false
	queueAccount(b, id, a, &found)
	if err := s.send(ctx, what, b); err != nil {
		return nil, err
	}
	return changedAccount(id, a, found, *updated)
}

// changedAccount returns an account that was changed, or why it was not.
func changedAccount(id acme.ID, a *acme.Account, found, updated bool) (*acme.Account, error) {
	switch {
	case !found:
		return nil, notFound("account", id)
	case !updated:
		return nil, &acme.StateError{Object: "account", ID: id, State: string(a.Status)}
	}
	return a, nil
}
