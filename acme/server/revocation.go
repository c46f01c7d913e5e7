package server

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// revokeCert revokes a certificate (RFC 8555 §7.6) at the request of the account
// that it was issued to, of one that has proved control of all its names, or of
// whoever holds its key. Three round trips, four for another account.
func (s *Server) revokeCert(r *request) (*response, error) {
	cert, parsed, reason, err := s.revocationOf(r)
	if err != nil {
		return nil, err
	}
	if err := s.mayRevoke(r, cert, parsed); err != nil {
		return nil, err
	}
	err = s.config.Store.RevokeCertificate(r.ctx, cert.ID, reason)
	if _, ok := errors.AsType[*acme.StateError](err); ok {
		return nil, acme.Problemf(acme.AlreadyRevoked, "the certificate with serial number %s is revoked already", cert.Serial)
	}
	if err != nil {
		return nil, err
	}
	s.published(cert)
	return &response{}, nil
}

// published has a revocation published, or says that nobody can: the key of the
// certificate's issuer is not here, and its last CRL stays as it is. It is recorded,
// and renewal information tells of it, all the same.
func (s *Server) published(cert *acme.Certificate) {
	if cert.IssuerID == s.config.Issuer.ID() {
		s.crls.note()
		return
	}
	s.config.Logger.Warn("a certificate was revoked that no CRL will list: the key of its issuer is not here any more",
		"serial", cert.Serial.String(), "issuer", fmt.Sprintf("%x", cert.IssuerID))
}

// revocationOf reads the payload and finds the certificate.
func (s *Server) revocationOf(r *request) (*acme.Certificate, *x509.Certificate, int, error) {
	var payload struct {
		Certificate string `json:"certificate"`
		Reason      int    `json:"reason"`
	}
	if err := r.decode(&payload); err != nil {
		return nil, nil, 0, err
	}
	der, err := base64.RawURLEncoding.DecodeString(payload.Certificate)
	if err != nil || len(der) == 0 {
		return nil, nil, 0, acme.Problemf(acme.Malformed, "certificate is not a certificate in DER in base64url without padding")
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, 0, acme.Problemf(acme.Malformed, "certificate: %s", acme.Excerpt(err.Error()))
	}
	if _, ok := acme.RevocationReasons[payload.Reason]; !ok {
		return nil, nil, 0, acme.Problemf(acme.BadRevocationReason, "reason %d; a client may give one of %v",
			payload.Reason, slices.Sorted(maps.Keys(acme.RevocationReasons)))
	}
	unknown := notFound("this server has issued no such certificate")
	if parsed.SerialNumber.BitLen() > 8*len(acme.Serial{}) {
		return nil, nil, 0, unknown
	}
	cert, err := s.config.Store.CertificateBySerial(r.ctx, acme.RenewalIDOf(parsed).Serial)
	switch {
	case errors.Is(err, acme.ErrNotFound), err == nil && !bytes.Equal(cert.DER, der):
		return nil, nil, 0, unknown
	case err != nil:
		return nil, nil, 0, err
	}
	return cert, parsed, payload.Reason, nil
}

// mayRevoke refuses whoever has no say over a certificate (RFC 8555 §7.6).
func (s *Server) mayRevoke(r *request, cert *acme.Certificate, parsed *x509.Certificate) error {
	if r.account == nil { // authenticated by the key in the JWS
		key, err := acme.ThumbprintOf(&jose.JSONWebKey{Key: parsed.PublicKey})
		signer, err2 := acme.ThumbprintOf(r.key)
		if err != nil || err2 != nil || key != signer {
			return unauthorized("the request is signed neither by an account nor with the certificate's key")
		}
		return nil
	}
	if cert.AccountID == r.account.ID {
		return nil
	}
	if s.config.Trusted { // authorizations are had for the asking, and show control of nothing
		return acme.Problemf(acme.Unauthorized, "the certificate was issued to another account; only that, or whoever holds the certificate's key, revokes it here")
	}
	names := identifiersOf(parsed)
	held, err := s.config.Store.ValidAuthorizations(r.ctx, r.account.ID, names, time.Time{}, s.config.Now(), !s.config.Trusted)
	if err != nil {
		return err
	}
	if len(held) < len(names) {
		return acme.Problemf(acme.Unauthorized, "the certificate was issued to another account, and this one holds valid authorizations for %d of its %d names", len(held), len(names))
	}
	return nil
}

// identifiersOf returns the identifiers that a certificate of ours has.
func identifiersOf(c *x509.Certificate) []acme.Identifier {
	var ids []acme.Identifier
	for _, name := range c.DNSNames {
		ids = append(ids, acme.Identifier{Type: acme.DNS, Value: name})
	}
	for _, addr := range c.IPAddresses {
		ids = append(ids, acme.Identifier{Type: acme.IP, Value: addr.String()})
	}
	return acme.SortIdentifiers(ids)
}
