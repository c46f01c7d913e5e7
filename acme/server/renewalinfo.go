package server

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// renewalInfoJSON is the renewal information object (RFC 9773 §4.2).
type renewalInfoJSON struct {
	SuggestedWindow struct {
		Start string `json:"start"`
		End   string `json:"end"`
	} `json:"suggestedWindow"`
	ExplanationURL string `json:"explanationURL,omitempty"`
}

// renewalInfoRetry is when a client should ask again (RFC 9773 §4.3.2): short
// enough for a revocation to be followed by a renewal within the day.
const renewalInfoRetry = 6 * time.Hour

// renewalInfo tells when a certificate is best renewed. It needs no
// authentication: certificates are public (RFC 9773 §4). One round trip.
func (s *Server) renewalInfo(r *request) (*response, error) {
	id, err := acme.ParseRenewalID(r.path("renewal"))
	if err != nil {
		return nil, notFound("%s", err)
	}
	cert, err := s.certificateOf(r.ctx, id)
	if errors.Is(err, acme.ErrNotFound) {
		return nil, notFound("this server has issued no such certificate")
	}
	if err != nil {
		return nil, err
	}
	// What signed it is not what signs now: it was taken away, perhaps for being
	// compromised, and its key signs no CRL any more, so that the last one ends.
	replaced := cert.IssuerID != s.config.Issuer.ID()
	start, end := renewalWindow(cert)
	body := renewalInfoJSON{}
	if replaced || !cert.RevokedAt.IsZero() {
		start, end = overdue(s.config.Now())
		body.ExplanationURL = s.config.Meta.Website
	}
	body.SuggestedWindow.Start, body.SuggestedWindow.End = formatTime(start), formatTime(end)
	return &response{body: body, retryAfter: renewalInfoRetry}, nil
}

// overdue returns a window that is over: renew now (RFC 9773 §4.2). Those that it
// is told ask at different times, so that they do not come all at once.
func overdue(now time.Time) (start, end time.Time) {
	return now.Add(-time.Hour), now.Add(-30 * time.Minute)
}

// renewalWindow returns when to renew: around two thirds of the lifetime, or half
// of one that is shorter than ten days, a window of 4 % of it wide, so that what
// was issued together is not renewed together.
func renewalWindow(c *acme.Certificate) (start, end time.Time) {
	lifetime := c.NotAfter.Sub(c.NotBefore)
	left := lifetime / 3
	if lifetime < 10*24*time.Hour {
		left = lifetime / 2
	}
	ideal, margin := c.NotAfter.Add(-left), lifetime/50
	return ideal.Add(-margin), ideal.Add(margin)
}

// certificateOf finds the certificate that has a renewal ID.
func (s *Server) certificateOf(ctx context.Context, id acme.RenewalID) (*acme.Certificate, error) {
	cert, err := s.config.Store.CertificateBySerial(ctx, id.Serial)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(cert.DER)
	if err != nil {
		return nil, err
	}
	if string(parsed.AuthorityKeyId) != id.KeyID {
		return nil, acme.ErrNotFound
	}
	return cert, nil
}

// checkReplaces checks which certificate an order says it replaces (RFC 9773 §5).
// Every refusal but that of one replaced already is malformed with the word
// «replaces»: that is what clients know to try again without the field.
func (s *Server) checkReplaces(r *request, o *acme.Order) error {
	if o.Replaces == "" {
		return nil
	}
	id, err := acme.ParseRenewalID(o.Replaces)
	if err != nil {
		return acme.Problemf(acme.Malformed, "replaces: %q: %s", acme.Excerpt(o.Replaces), err)
	}
	cert, err := s.certificateOf(r.ctx, id)
	switch {
	case errors.Is(err, acme.ErrNotFound), err == nil && cert.AccountID != o.AccountID:
		return acme.Problemf(acme.Malformed, "replaces: the account has no certificate %q", acme.Excerpt(o.Replaces))
	case err != nil:
		return err
	}
	parsed, err := x509.ParseCertificate(cert.DER)
	if err != nil {
		return err
	}
	for _, name := range identifiersOf(parsed) {
		if slices.Contains(o.Identifiers, name) {
			return nil
		}
	}
	return acme.Problemf(acme.Malformed, "replaces: the certificate %q has none of the order's identifiers", acme.Excerpt(o.Replaces))
}
