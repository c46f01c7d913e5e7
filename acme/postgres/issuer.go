package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// RegisterIssuer adds an issuer, or replaces its chains: a server calls it at its
// start, before it issues. One round trip; nothing is written where nothing is new.
func (s *Store) RegisterIssuer(ctx context.Context, issuer *acme.Issuer) error {
	b := &pgx.Batch{}
	b.Queue(`
		INSERT INTO issuers AS i (id, chains) VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET chains = EXCLUDED.chains WHERE i.chains::text <> EXCLUDED.chains::text`,
		issuer.ID[:], issuer.Chains)
	return s.send(ctx, "register issuer", b)
}

// Issuer returns an issuer with its chains. One round trip.
func (s *Store) Issuer(ctx context.Context, id acme.IssuerID) (*acme.Issuer, error) {
	b, issuer, found := &pgx.Batch{}, &acme.Issuer{ID: id}, false
	b.Queue(`SELECT chains FROM issuers WHERE id = $1`, id[:]).
		QueryRow(optional(&found, func(row pgx.Row) error { return row.Scan(&issuer.Chains) }))
	if err := s.send(ctx, "read issuer", b); err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("issuer %x: %w", id, acme.ErrNotFound)
	}
	return issuer, nil
}
