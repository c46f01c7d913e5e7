package issuance

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/rfc" // registers the lints of the RFCs, and no others
)

// Lint says what becomes of a certificate that a lint finds fault with.
type Lint string

// The ways to lint.
const (
	LintOff     Lint = "Off"     // no lint is run; the default
	LintWarn    Lint = "Warn"    // the first certificate of each kind is linted, and its faults are logged
	LintEnforce Lint = "Enforce" // each is, and faults are errors: the certificate does not leave
)

// linter holds certificates against RFC 5280 and its kin. The rules of the
// CA/Browser Forum are not for a private authority: they refuse its names.
type linter struct {
	enforce bool
	logger  *slog.Logger
	lints   []*lint.CertificateLint
	config  lint.Configuration
	seen    sync.Map // kind → true, where faults are only logged
}

// kind is what certificates have in common that differ in no more than their
// names, key, serial number and times, which are checked before they are signed.
type kind struct {
	usage         x509.KeyUsage
	extended      string // the extended usages
	key           x509.PublicKeyAlgorithm
	curve         string // of ECDSA
	common        bool   // has a common name
	dns, wildcard bool
	ip            bool
}

// kindOf returns the kind of a certificate.
func kindOf(c *x509.Certificate) kind {
	k := kind{
		usage: c.KeyUsage, extended: fmt.Sprint(c.ExtKeyUsage), key: c.PublicKeyAlgorithm,
		common: c.Subject.CommonName != "", dns: len(c.DNSNames) > 0, ip: len(c.IPAddresses) > 0,
		wildcard: slices.ContainsFunc(c.DNSNames, func(name string) bool { return strings.HasPrefix(name, "*.") }),
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
		k.curve = key.Params().Name
	}
	return k
}

// newLinter returns a linter, or nil where none is wanted.
func newLinter(mode Lint, logger *slog.Logger) (*linter, error) {
	switch mode {
	case "", LintOff:
		return nil, nil
	case LintWarn, LintEnforce:
	default:
		return nil, fmt.Errorf("lint %q is not known: write one of %s, %s, %s", mode, LintOff, LintWarn, LintEnforce)
	}
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6962, lint.RFC8813},
	})
	if err != nil {
		return nil, fmt.Errorf("lints: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &linter{
		enforce: mode == LintEnforce, logger: logger,
		lints: registry.CertificateLints().Lints(), config: registry.GetConfiguration(),
	}, nil
}

// check runs the lints. A notice or warning is no fault: RFC 5280's SHOULDs are
// met or set aside knowingly (docs/profiles.md).
func (l *linter) check(ctx context.Context, certificate *x509.Certificate) error {
	if l == nil {
		return nil
	}
	if !l.enforce {
		if _, seen := l.seen.LoadOrStore(kindOf(certificate), true); seen {
			return nil
		}
	}
	parsed, err := zx509.ParseCertificate(certificate.Raw)
	if err != nil {
		return fmt.Errorf("reading a certificate to lint it: %w", err)
	}
	var faults []string
	for _, rule := range l.lints {
		if rule.Execute(parsed, l.config).Status >= lint.Error {
			faults = append(faults, rule.Name)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	slices.Sort(faults)
	serial := serialOf(certificate)
	if l.enforce {
		return fmt.Errorf("certificate %s has faults: %s", serial, strings.Join(faults, ", "))
	}
	l.logger.WarnContext(ctx, "certificate has faults", "serial", serial.String(), "lints", faults)
	return nil
}
