package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// CertificateBySerial reads a certificate of whichever account. One round trip.
func (s *Store) CertificateBySerial(ctx context.Context, serial acme.Serial) (*acme.Certificate, error) {
	b, c, found := &pgx.Batch{}, new(acme.Certificate), false
	b.Queue(selectCertificate+`WHERE serial = $1`, serial[:]).
		QueryRow(optional(&found, func(row pgx.Row) error { return scanCertificate(row, c) }))
	if err := s.send(ctx, "read certificate by serial", b); err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("certificate %s: %w", serial, acme.ErrNotFound)
	}
	return c, nil
}

// RevokeCertificate revokes a certificate, once: one that is revoked is a
// [acme.StateError]. One round trip; the commit waits for the disk.
func (s *Store) RevokeCertificate(ctx context.Context, certificate acme.ID, reason int) error {
	b := &pgx.Batch{}
	var revoked, found bool
	b.Queue(`
		UPDATE certificates SET revoked_at = now(), revocation_reason = $2
		WHERE id = $1 AND revoked_at IS NULL`, uuidOf(certificate), reason).Exec(changed(&revoked))
	b.Queue(`SELECT EXISTS (SELECT FROM certificates WHERE id = $1)`, uuidOf(certificate)).
		QueryRow(func(row pgx.Row) error { return row.Scan(&found) })
	if err := s.send(ctx, "revoke certificate", b); err != nil {
		return err
	}
	switch {
	case !found:
		return notFound("certificate", certificate)
	case !revoked:
		return &acme.StateError{Object: "certificate", ID: certificate, State: "revoked"}
	}
	return nil
}

// Revocations lists the revoked certificates of an issuer that have not expired.
// One that expired is listed for an hour more, so that it is on at least one CRL
// issued after its end (RFC 5280 §3.3). One round trip.
func (s *Store) Revocations(ctx context.Context, issuer acme.IssuerID) (acme.RevocationState, error) {
	b, state := &pgx.Batch{}, acme.RevocationState{}
	b.Queue(`SELECT now()`).QueryRow(func(row pgx.Row) error { return row.Scan(&state.AsOf) })
	b.Queue(`
		SELECT serial, revoked_at, revocation_reason FROM certificates
		WHERE issuer_id = $1 AND revoked_at IS NOT NULL AND not_after > now() - interval '1 hour'
		ORDER BY serial`, issuer[:]).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var serial []byte
			var revoked time.Time
			var reason int
			if err := rows.Scan(&serial, &revoked, &reason); err != nil {
				return err
			}
			state.Revoked = append(state.Revoked, acme.Revocation{Serial: acme.Serial(serial), RevokedAt: revoked, Reason: reason})
		}
		return rows.Err()
	})
	if err := s.send(ctx, "list revocations", b); err != nil {
		return acme.RevocationState{}, err
	}
	return state, nil
}

// SaveCRL keeps the last CRL of an issuer. One round trip.
func (s *Store) SaveCRL(ctx context.Context, issuer acme.IssuerID, crl acme.CRL) error {
	b := &pgx.Batch{}
	unhurried(b) // whoever finds it missing signs another
	b.Queue(`
		INSERT INTO crls AS c (issuer_id, der, this_update, next_update) VALUES ($1, $2, $3, $4)
		ON CONFLICT (issuer_id) DO UPDATE SET der = EXCLUDED.der, this_update = EXCLUDED.this_update, next_update = EXCLUDED.next_update
		WHERE c.this_update < EXCLUDED.this_update`, issuer[:], crl.DER, crl.ThisUpdate, crl.NextUpdate)
	return s.send(ctx, "save CRL", b)
}

// CRL returns the CRL kept of an issuer. One round trip.
func (s *Store) CRL(ctx context.Context, issuer acme.IssuerID) (acme.CRL, error) {
	b, crl, found := &pgx.Batch{}, acme.CRL{}, false
	b.Queue(`SELECT der, this_update, next_update FROM crls WHERE issuer_id = $1`, issuer[:]).
		QueryRow(optional(&found, func(row pgx.Row) error { return row.Scan(&crl.DER, &crl.ThisUpdate, &crl.NextUpdate) }))
	if err := s.send(ctx, "read CRL", b); err != nil {
		return acme.CRL{}, err
	}
	if !found {
		return acme.CRL{}, fmt.Errorf("CRL of issuer %x: %w", issuer, acme.ErrNotFound)
	}
	return crl, nil
}
