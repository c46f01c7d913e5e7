package generator

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// Mode says how control of identifiers is proved.
type Mode string

// The modes.
const (
	// Trusted expects orders that are ready at once.
	Trusted Mode = "trusted"
	// HTTP01 answers an http-01 challenge for each identifier.
	HTTP01 Mode = "http-01"
)

// KeyAlgorithm is what account keys sign with (RFC 7518 §3.1).
type KeyAlgorithm string

// The algorithms: most clients' default, and cert-manager's.
const (
	ES256 KeyAlgorithm = "ES256" // P-256
	RS256 KeyAlgorithm = "RS256" // RSA with 2048 bits
)

// Config tells what load to make.
type Config struct {
	// DirectoryURL is the server's.
	DirectoryURL string
	// Replicas are the directories of other replicas of the server, which take each
	// other's URLs: the workers are dealt out to it and them.
	Replicas []string
	// Roots are what the server's own certificate is verified with.
	Roots *x509.CertPool
	// Mode says how control is proved; default [Trusted].
	Mode Mode
	// Responders answer the challenges of the mode [HTTP01], which needs them.
	Responders *Responders
	// Keys is the algorithm of the account keys; default [ES256].
	Keys KeyAlgorithm
	// Accounts is how many share the load; default 16.
	Accounts int
	// Workers is how many flows there are at most at a time; default 8.
	Workers int
	// Orders are what is ordered; default 1000 for one DNS name each.
	Orders *Orders
	// Rate is how many flows begin in a second, whether or not those before have
	// ended (open loop). 0: a worker begins one when it has ended one (closed loop).
	Rate float64
	// Renew makes every flow of an account but its first one a renewal (RFC 9773): it
	// asks for the renewal information of the certificate before, and replaces it.
	Renew bool
}

// maxIdentifiers bounds the names of an order, as servers do.
const maxIdentifiers = 100

// withDefaults returns the configuration with its defaults filled in.
func (c Config) withDefaults() Config {
	setDefault(&c.Mode, Trusted)
	setDefault(&c.Keys, ES256)
	setDefault(&c.Accounts, 16)
	setDefault(&c.Workers, 8)
	return c
}

// setDefault gives a field that is zero its default.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate says what is wrong with a configuration that has its defaults.
func (c *Config) validate() error {
	switch {
	case c.Mode != Trusted && c.Mode != HTTP01:
		return fmt.Errorf("mode %q; want %s or %s", c.Mode, Trusted, HTTP01)
	case c.Mode == HTTP01 && c.Responders == nil:
		return fmt.Errorf("mode %s needs responders", HTTP01)
	case c.Keys != ES256 && c.Keys != RS256:
		return fmt.Errorf("keys %q; want %s or %s", c.Keys, ES256, RS256)
	case c.Accounts < 1, c.Workers < 1:
		return errors.New("accounts and workers must be 1 or more")
	case c.Rate < 0:
		return fmt.Errorf("a rate of %g; want 0 (closed loop) or more", c.Rate)
	}
	return nil
}
