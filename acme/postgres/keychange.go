package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// uniqueViolation is the SQLSTATE of a row that stands in the way.
const uniqueViolation = "23505"

// ChangeKey replaces the key of a valid account whose key is the old one (RFC 8555
// §7.3.5). Where another account has the new key it returns that account with
// [acme.ErrKeyInUse]. It is paid for by spends, or not done. One round trip, and one more to find the other account; the
// commit waits for the disk.
func (s *Store) ChangeKey(ctx context.Context, account acme.ID, old acme.Thumbprint, key *jose.JSONWebKey, spends []acme.Spend) (*acme.Account, error) {
	thumbprint, err := acme.ThumbprintOf(key)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(key)
	if err != nil {
		return nil, fmt.Errorf("new key of account %s: %w", account, err)
	}
	b := &pgx.Batch{}
	var updated bool
	paid := s.queueSpends(b, spends, account, `true`)
	b.Queue(`
		UPDATE accounts SET key = $3, key_thumbprint = $4, former_thumbprints = (key_thumbprint || former_thumbprints)[1:$5::integer]
		WHERE id = $1 AND status = 'valid' AND key_thumbprint = $2 AND `+notRefused,
		uuidOf(account), old[:], text, thumbprint[:], acme.MaxFormerKeys).Exec(changed(&updated))
	a, found := new(acme.Account), false
	queueAccount(b, account, a, &found)
	paid.queueAbandon(b, `EXISTS (SELECT FROM accounts WHERE id = $1 AND status = 'valid' AND key_thumbprint = $2)`, uuidOf(account), thumbprint[:])
	err = paid.settle(s.send(ctx, "change key", b))
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return changedAccount(account, a, found, updated)
	case !errors.As(err, &refused) || refused.Code != uniqueViolation:
		return nil, err
	}
	other, err := s.AccountByKey(ctx, thumbprint)
	if err != nil {
		return nil, err
	}
	return other, fmt.Errorf("change key of account %s: %w", account, acme.ErrKeyInUse)
}
