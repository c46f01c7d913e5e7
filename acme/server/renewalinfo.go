package server

import (
	"cmp"
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

// renewalPage explains to people why a certificate is to be renewed now, where the
// operator of the server has no page (RFC 9773 §4.2).
const renewalPage = "https://github.com/acme-ca/acme-ca-operator/blob/main/docs/acmeserver.md#certificate-authority"

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
	start, end := renewalWindow(cert)
	body := renewalInfoJSON{}
	if s.isOverdue(cert) {
		start, end = overdue(s.config.Now())
		body.ExplanationURL = cmp.Or(s.config.Meta.Website, renewalPage)
	}
	body.SuggestedWindow.Start, body.SuggestedWindow.End = formatTime(start), formatTime(end)
	return &response{body: body, retryAfter: renewalInfoRetry}, nil
}

// isOverdue reports whether a certificate is to be renewed whatever its age: it was
// revoked, or what signed it is not what signs now. That was taken away, perhaps for
// being compromised, and its key signs no CRL any more, so that the last one ends.
func (s *Server) isOverdue(c *acme.Certificate) bool {
	return c.IssuerID != s.config.Issuer.ID() || !c.RevokedAt.IsZero()
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
func (s *Server) checkReplaces(r *request, o *acme.Order) (replaced acme.Renewal, err error) {
	if o.Replaces == "" {
		return replaced, nil
	}
	id, err := acme.ParseRenewalID(o.Replaces)
	if err != nil {
		return replaced, acme.Problemf(acme.Malformed, "replaces: %q: %s", acme.Excerpt(o.Replaces), err)
	}
	cert, err := s.certificateOf(r.ctx, id)
	switch {
	case errors.Is(err, acme.ErrNotFound), err == nil && cert.AccountID != o.AccountID:
		return replaced, acme.Problemf(acme.Malformed, "replaces: the account has no certificate %q", acme.Excerpt(o.Replaces))
	case err != nil:
		return replaced, err
	}
	parsed, err := x509.ParseCertificate(cert.DER)
	if err != nil {
		return replaced, err
	}
	names := identifiersOf(parsed)
	if !slices.ContainsFunc(names, func(name acme.Identifier) bool { return slices.Contains(o.Identifiers, name) }) {
		return replaced, acme.Problemf(acme.Malformed, "replaces: the certificate %q has none of the order's identifiers", acme.Excerpt(o.Replaces))
	}
	return s.renewalOf(o, cert, names), nil
}

// renewalOf returns what an order renews by replacing a certificate with names; the
// zero value where it does not. A name that the certificate has not is an order like
// others, and so is one before the time that is suggested to clients, or half of the
// certificate's life.
func (s *Server) renewalOf(o *acme.Order, c *acme.Certificate, names []acme.Identifier) acme.Renewal {
	now := s.config.Now()
	start, _ := renewalWindow(c)
	due := s.isOverdue(c) || !now.Before(start) || acme.RenewalDue(c, now)
	added := slices.ContainsFunc(o.Identifiers, func(name acme.Identifier) bool { return !slices.Contains(names, name) })
	if !due || added {
		return acme.Renewal{}
	}
	return acme.Renewal{Names: acme.NameSetOf(names), Lifetime: c.NotAfter.Sub(c.NotBefore)}
}
