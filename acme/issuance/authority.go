package issuance

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Config is what an [Authority] is made of.
type Config struct {
	// Chain has the issuing certificate and those above it, each signed by the
	// next. A root at its end is left out of what clients are given.
	Chain []*x509.Certificate
	// Roots are the certificates that clients trust, old and new.
	Roots []*x509.Certificate
	// Alternates has other chains, one behind another, that clients may choose (RFC
	// 8555 §7.4.2). Each begins with a certificate of the issuing key and subject that
	// another authority signed; a root at its end is left out.
	Alternates []*x509.Certificate
	// Signer has the issuing certificate's private key.
	Signer crypto.Signer
	// Profiles lists the kinds of certificate; at least one.
	Profiles []Profile
	// DefaultProfile names one of them; empty stands for the first.
	DefaultProfile string
	// BaseURL is where CRLs and issuer certificates are served, over plain HTTP
	// (RFC 5280 §8: whoever fetches them is verifying a certificate and must not
	// need another for it), such as http://internal.pki.svc. Empty: certificates
	// point to neither.
	BaseURL string
	// MaxNames bounds the names of a request; default 100.
	MaxNames int
	// Lint says what becomes of a certificate with a fault; default [LintOff].
	Lint Lint
	// Logger is told of faults where Lint is [LintWarn]; default none.
	Logger *slog.Logger
	// Clock tells the time; default [time.Now].
	Clock func() time.Time
}

// Authority signs certificates with one issuing certificate. Its methods may be
// called at once from anywhere.
type Authority struct {
	issuer   *x509.Certificate
	id       acme.IssuerID
	chain    []*x509.Certificate // as served: from the issuer up to, and without, a root
	roots    []*x509.Certificate
	others   [][]*x509.Certificate // the alternate chains, as served
	signer   crypto.Signer
	profiles map[string]Profile
	fallback string // the default profile
	crlURL   string // empty: no CRL is pointed to
	aiaURL   string // empty: no issuer certificate is pointed to
	maxNames int
	linter   *linter // nil: no lint
	clock    func() time.Time
	// end is when the last path from the issuer to a root ends.
	end time.Time
}

// New returns an authority after it has proved that what it signs can be
// verified: it signs a certificate that it shows nobody and follows the chain
// from it to the roots. An error says which certificate, key or profile is at
// fault and what would be right.
func New(c Config) (*Authority, error) {
	if err := checkIssuer(&c); err != nil {
		return nil, err
	}
	profiles, fallback, err := indexProfiles(c.Profiles, c.DefaultProfile)
	if err != nil {
		return nil, err
	}
	a := &Authority{
		issuer: c.Chain[0], id: acme.IssuerIDOf(c.Chain[0]),
		chain: withoutRoots(c.Chain, c.Roots), roots: slices.Clone(c.Roots),
		signer: c.Signer, profiles: profiles, fallback: fallback,
		maxNames: cmp.Or(c.MaxNames, defaultMaxNames), clock: c.Clock,
	}
	if a.clock == nil {
		a.clock = time.Now
	}
	others, err := AlternateChains(a.issuer, c.Alternates, a.clock())
	if err != nil {
		return nil, err
	}
	for _, chain := range others {
		a.others = append(a.others, withoutOwnRoot(chain))
	}
	if err := a.setURLs(c.BaseURL); err != nil {
		return nil, err
	}
	if a.linter, err = newLinter(c.Lint, c.Logger); err != nil {
		return nil, err
	}
	if err := a.prove(); err != nil {
		return nil, err
	}
	return a, nil
}

// setURLs makes the addresses that certificates point to.
func (a *Authority) setURLs(base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("base URL %q: write http://host or http://host:port", base)
	}
	origin := "http://" + u.Host
	a.aiaURL = origin + IssuerPath(a.id)
	// An issuer that may not sign CRLs (RFC 5280 §4.2.1.3) is still of use:
	// cert-manager makes such ones unless it is asked for `crl sign`.
	if a.SignsCRLs() {
		a.crlURL = origin + CRLPath(a.id)
	}
	return nil
}

// SignsCRLs reports whether the issuing certificate may sign CRLs; where it may
// not, certificates point to none.
func (a *Authority) SignsCRLs() bool { return a.issuer.KeyUsage&x509.KeyUsageCRLSign != 0 }

// CRLPath is the path that the CRL of an issuer is served at: its certificates
// point there for as long as they last.
func CRLPath(id acme.IssuerID) string { return fmt.Sprintf("/crl/%x", id[:]) }

// IssuerPath is the path that an issuer's certificate is served at, in DER
// (RFC 5280 §4.2.2.1).
func IssuerPath(id acme.IssuerID) string { return fmt.Sprintf("/issuer/%x", id[:]) }

// Issuer returns the issuing certificate with its chains, for the store.
func (a *Authority) Issuer() *acme.Issuer {
	own := a.chain
	if len(own) == 0 { // the issuer is a root; its certificates point to it all the same
		own = []*x509.Certificate{a.issuer}
	}
	issuer := &acme.Issuer{ID: a.id}
	for _, certificates := range append([][]*x509.Certificate{own}, a.others...) {
		chain := make([][]byte, len(certificates))
		for i, c := range certificates {
			chain[i] = slices.Clone(c.Raw)
		}
		issuer.Chains = append(issuer.Chains, chain)
	}
	return issuer
}

// Certificate returns the issuing certificate, which must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.issuer }

// Roots returns the certificates that clients should trust.
func (a *Authority) Roots() []*x509.Certificate { return slices.Clone(a.roots) }

// Profiles returns the description of each profile by its name, as the
// directory lists them (draft-ietf-acme-profiles §3).
func (a *Authority) Profiles() map[string]string {
	descriptions := make(map[string]string, len(a.profiles))
	for name, p := range a.profiles {
		descriptions[name] = p.Description
	}
	return descriptions
}

// DefaultProfile names the profile of an order that asks for none.
func (a *Authority) DefaultProfile() string { return a.fallback }
