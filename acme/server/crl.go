package server

import (
	"context"
	"sync"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// crlCheck is how old a replica's CRL may be before it asks whether there are
// revocations that it does not have.
const crlCheck = 5 * time.Second

// crlCache keeps the CRL of the issuer that this replica signs with. Signing
// happens when somebody asks, at most once in crlCheck.
type crlCache struct {
	mu      sync.Mutex
	checked time.Time
	state   acme.RevocationState
	crl     acme.CRL
}

// crl serves the CRL of an issuer (RFC 5280 §5) to whoever follows the
// distribution point of a certificate.
func (s *Server) crl(r *request) (*response, error) {
	id, err := issuerID(r.path("issuer"))
	if err != nil {
		return nil, err
	}
	crl, err := s.currentCRL(r.ctx, id)
	if err != nil {
		return nil, err
	}
	return &response{body: crl.DER, contentType: "application/pkix-crl", cacheable: "public, max-age=300"}, nil // RFC 2585 §4
}

// currentCRL returns a CRL that has every revocation of a few seconds ago. That of
// an issuer whose key is no longer here is the last that was signed.
func (s *Server) currentCRL(ctx context.Context, id acme.IssuerID) (acme.CRL, error) {
	if id != s.config.Issuer.ID() {
		return s.config.Store.CRL(ctx, id)
	}
	c := &s.crls
	c.mu.Lock()
	defer c.mu.Unlock()
	now := s.config.Now()
	if now.Sub(c.checked) < crlCheck && now.Before(c.crl.NextUpdate) {
		return c.crl, nil
	}
	state, err := s.config.Store.Revocations(ctx, id)
	if err != nil {
		return acme.CRL{}, err
	}
	// Signed anew where something was revoked, and at half of its time.
	half := c.crl.NextUpdate.Sub(c.crl.ThisUpdate) / 2
	if len(c.crl.DER) == 0 || !state.Same(c.state) || now.After(c.crl.ThisUpdate.Add(half)) {
		signed, err := s.config.Issuer.SignCRL(ctx, state)
		if err != nil {
			return acme.CRL{}, err
		}
		if err := s.config.Store.SaveCRL(ctx, id, signed); err != nil {
			return acme.CRL{}, err
		}
		c.crl, c.state = signed, state
	}
	c.checked = now
	return c.crl, nil
}
