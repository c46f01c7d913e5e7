package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// FieldError says what is wrong with one field.
type FieldError struct {
	// Field is its path in the file, such as validation.networks.allow[1].
	Field string
	// Problem says what was found and what would be right.
	Problem string
}

// Error returns the path and the problem.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// faults collects what is wrong, so that one reading of the error mends the file.
type faults []error

// add records a fault of the field at the path.
func (f *faults) add(path, format string, args ...any) {
	*f = append(*f, &FieldError{Field: path, Problem: fmt.Sprintf(format, args...)})
}

// maxIssuerNames bounds the names of an authority that a challenge of dns-persist-01
// has (draft-ietf-acme-dns-persist-02 §3.1).
const maxIssuerNames = 10

// Validate returns every fault of a Config whose defaults are set, each a
// [*FieldError], joined; nil where it can be served.
func (c *Config) Validate() error {
	var f faults
	c.Listen.validate(&f)
	validateURLs(&f, c.URLs)
	if c.DistributionURL != "" { // it is made of the first of urls, which may be at fault
		validateOrigin(&f, "distributionURL", c.DistributionURL, "http")
	}
	if c.Database == nil {
		f.add("database", "is missing: without one, what was issued is forgotten at every restart")
	} else {
		c.Database.validate(&f)
	}
	c.CertificateAuthority.validate(&f)
	c.Validation.validate(&f)
	c.Identifiers.validate(&f)
	c.ExternalAccounts.validate(&f)
	validateProfiles(&f, c.Profiles)
	c.Directory.validate(&f)
	if n := len(c.Directory.CAAIdentities); slices.Contains(c.Validation.Challenges, string(acme.DNSPersist01)) && (n == 0 || n > maxIssuerNames) {
		f.add("directory.caaIdentities", "has %d names: with the challenge dns-persist-01 write 1 to %d, of which its records have one", n, maxIssuerNames)
	}
	within(&f, "lifetimes.order", c.Lifetimes.Order, time.Minute, 30*24*time.Hour)
	within(&f, "lifetimes.authorizationReuse", c.Lifetimes.AuthorizationReuse, 0, 30*24*time.Hour)
	within(&f, "shutdownDelay", c.ShutdownDelay, 0, time.Hour)
	within(&f, "shutdownTimeout", c.ShutdownTimeout, 0, time.Hour)
	between(&f, "maxIdentifiers", c.MaxIdentifiers, 1, 1000)
	validateTexts(&f, "", reflect.ValueOf(*c))
	return errors.Join(f...)
}

func (l Listen) validate(f *faults) {
	seen := map[string]string{}
	for _, face := range []struct{ path, address string }{
		{"listen.acme", l.ACME}, {"listen.http", l.HTTP}, {"listen.ops", l.Ops},
	} {
		if problem := checkAddress(face.address); problem != "" {
			f.add(face.path, "%q %s: write host:port or :port, such as :8443", face.address, problem)
		}
		if other, ok := seen[face.address]; ok && !strings.HasSuffix(face.address, ":0") {
			f.add(face.path, "%q is the address of %s already: give each its own", face.address, other)
		}
		seen[face.address] = face.path
	}
}

// schemaName is what a Postgres schema may be called and never be quoted.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

func (d *Database) validate(f *faults) {
	required(f, "database.urlFile", d.URLFile)
	if !schemaName.MatchString(d.Schema) || strings.HasPrefix(d.Schema, "pg_") {
		f.add("database.schema", "%q cannot name a schema: write up to 63 of a-z, 0-9 and _, not beginning with a digit or pg_", d.Schema)
	}
	between(f, "database.maxConnections", d.MaxConnections, 2, 1000)
}

func (a CertificateAuthority) validate(f *faults) {
	required(f, "certificateAuthority.certificateFile", a.CertificateFile)
	required(f, "certificateAuthority.keyFile", a.KeyFile)
	required(f, "certificateAuthority.rootsFile", a.RootsFile)
	oneOf(f, "certificateAuthority.lint", a.Lint, LintOff, LintWarn, LintEnforce)
}

func (v Validation) validate(f *faults) {
	oneOf(f, "validation.mode", v.Mode, Challenge, Trusted)
	known := make([]string, len(acme.ChallengeTypes))
	for i, t := range acme.ChallengeTypes {
		known[i] = string(t)
	}
	for i, t := range v.Challenges {
		path := fmt.Sprintf("validation.challenges[%d]", i)
		oneOf(f, path, t, known...)
		once(f, path, t, v.Challenges[:i])
	}
	for i, r := range v.Resolvers {
		if problem := checkResolver(r); problem != "" {
			f.add(fmt.Sprintf("validation.resolvers[%d]", i), "%q %s: write host or host:port, such as 10.96.0.10", r, problem)
		}
	}
	v.Networks.validate(f)
	between(f, "validation.http01Port", v.HTTP01Port, 1, maxPort)
	between(f, "validation.tlsALPN01Port", v.TLSALPN01Port, 1, maxPort)
}

func (n Networks) validate(f *faults) {
	for i, cidr := range n.Allow {
		validateNetwork(f, fmt.Sprintf("validation.networks.allow[%d]", i), cidr)
	}
	for i, cidr := range n.Deny {
		validateNetwork(f, fmt.Sprintf("validation.networks.deny[%d]", i), cidr)
	}
}

func (d Directory) validate(f *faults) {
	validateLink(f, "directory.termsOfService", d.TermsOfService)
	validateLink(f, "directory.website", d.Website)
	validateLink(f, "directory.rateLimits", d.RateLimits)
	for i, domain := range d.CAAIdentities {
		path := fmt.Sprintf("directory.caaIdentities[%d]", i)
		if id, err := acme.ParseIdentifier(string(acme.DNS), domain); err != nil || id.IsWildcard() || id.Value != domain {
			f.add(path, "%q is not a domain name in lower case: write one, such as ca.example", domain)
		}
		once(f, path, domain, d.CAAIdentities[:i])
	}
}

// required records a fault where a text is empty.
func required(f *faults, path, value string) {
	if value == "" {
		f.add(path, "is missing")
	}
}

// oneOf records a fault where a value is not among those known.
func oneOf[T ~string](f *faults, path string, value T, known ...T) {
	if !slices.Contains(known, value) {
		f.add(path, "%q is not known: write one of %s", value, list(known))
	}
}

// once records a fault where a value is among those before it in its list.
func once[T comparable](f *faults, path string, value T, before []T) {
	if i := slices.Index(before, value); i >= 0 {
		f.add(path, "%q is in the list already, at [%d]", fmt.Sprint(value), i)
	}
}

// between records a fault where a number is out of its range.
func between(f *faults, path string, value, low, high int) {
	if value < low || value > high {
		f.add(path, "%d is out of range: write %d to %d", value, low, high)
	}
}

// within records a fault where a duration is out of its range.
func within(f *faults, path string, value Duration, low, high time.Duration) {
	if value.Duration < low || value.Duration > high {
		f.add(path, "%s is out of range: write %s to %s", value, low, high)
	}
}

// list joins values as a sentence has them.
func list[T ~string](values []T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}
