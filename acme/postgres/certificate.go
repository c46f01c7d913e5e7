package postgres

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// selectCertificate reads what scanCertificate scans.
const selectCertificate = `
	SELECT id, account_id, serial, issuer_id, der, not_before, not_after, revoked_at, revocation_reason, issued_at
	FROM certificates `

// Certificate reads a certificate of an account. One round trip.
func (s *Store) Certificate(ctx context.Context, by *acme.Proof, certificate acme.ID) (*acme.Certificate, error) {
	b, c, found := reading(by), new(acme.Certificate), false
	b.Queue(selectCertificate+`WHERE id = $1 AND account_id = $2`, uuidOf(certificate), uuidOf(by.Account)).
		QueryRow(optional(&found, func(row pgx.Row) error { return scanCertificate(row, c) }))
	if err := s.sendBy(ctx, "read certificate", by, b); err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound("certificate", certificate)
	}
	return c, nil
}

// Certificates lists all certificates that are kept, in the order in which their orders
// were made. One round trip for a thousand.
func (s *Store) Certificates(ctx context.Context) iter.Seq2[*acme.Certificate, error] {
	return list(ctx, s, "list certificates", selectCertificate, scanCertificate, func(c *acme.Certificate) acme.ID { return c.ID })
}

// scanCertificate reads a row of certificates.
func scanCertificate(row pgx.Row, c *acme.Certificate) error {
	var serial, issuer []byte
	var revoked pgtype.Timestamptz
	var reason pgtype.Int2
	err := row.Scan((*[16]byte)(&c.ID), (*[16]byte)(&c.AccountID), &serial, &issuer, &c.DER,
		&c.NotBefore, &c.NotAfter, &revoked, &reason, &c.IssuedAt)
	if err != nil {
		return err
	}
	c.Serial, c.IssuerID = acme.Serial(serial), acme.IssuerID(issuer)
	c.RevokedAt, c.RevocationReason = revoked.Time, int(reason.Int16)
	return nil
}
