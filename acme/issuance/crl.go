package issuance

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// crlLifetime is how long a CRL may be relied on: a day, of which the server
// serves the first half, so that a verifier's copy lasts over an outage.
const crlLifetime = 24 * time.Hour

// ID names the issuing certificate.
func (a *Authority) ID() acme.IssuerID { return a.id }

// SignCRL signs a CRL of the issuing certificate (RFC 5280 §5). Its number is the
// store's time in milliseconds: it grows whichever replica signs.
func (a *Authority) SignCRL(ctx context.Context, s acme.RevocationState) (acme.CRL, error) {
	if !a.SignsCRLs() {
		return acme.CRL{}, fmt.Errorf("%s may not sign CRLs (key usage crl sign): %w", describe(a.issuer), acme.ErrNotFound)
	}
	if err := ctx.Err(); err != nil {
		return acme.CRL{}, fmt.Errorf("signing a CRL: %w", err)
	}
	second := s.AsOf.UTC().Truncate(time.Second)
	crl := acme.CRL{ThisUpdate: s.AsOf.UTC(), NextUpdate: second.Add(crlLifetime)}
	template := &x509.RevocationList{Number: big.NewInt(s.AsOf.UnixMilli()), ThisUpdate: second, NextUpdate: crl.NextUpdate}
	for _, r := range s.Revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: new(big.Int).SetBytes(r.Serial[:]), RevocationTime: r.RevokedAt.UTC().Truncate(time.Second), ReasonCode: r.Reason,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.issuer, a.signer)
	if err != nil {
		return acme.CRL{}, fmt.Errorf("signing a CRL: %w", err)
	}
	crl.DER = der
	return crl, nil
}
