package validation

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Limits tells what a validation that failed takes of limits. Nothing is refused by
// that: it is asked for when another order is made.
type Limits interface {
	FailedValidation(account acme.ID, identifier acme.Identifier) []acme.Spend
}

// Config is what a [Worker] needs. Only the queue has no default.
type Config struct {
	Queue Queue
	// Resolvers are recursive DNS servers, host or host:port; default those of
	// ResolvConf.
	Resolvers []string
	// ResolvConf is a file as resolv.conf(5) has it; default /etc/resolv.conf.
	ResolvConf string
	// Networks bounds what is dialled.
	Networks Networks
	// HTTP01Port and TLSALPN01Port are where responders are dialled, and where
	// redirects to http and https may lead; defaults 80 and 443.
	HTTP01Port, TLSALPN01Port int
	// CAAIdentities are the domain names that this authority goes by in CAA records,
	// in lower case; without any, no CAA record is looked at.
	CAAIdentities []string
	// AccountURLs are what an account's ID is appended to for its URLs, the canonical
	// one first: DNS records name accounts by them.
	AccountURLs []string
	// AccountHashes are what a hash that stands for an account is appended to in
	// records of dns-persist-01, one for each of AccountURLs, in their order.
	AccountHashes []string
	// Limits tells what a failure takes; default nothing.
	Limits Limits
	// AuthorizationReuse is how old an authorization may be that orders use again; 0
	// where they do not.
	AuthorizationReuse time.Duration
	// Concurrency bounds how many attempts are made at once; default 64.
	Concurrency int
	// Timeout bounds one attempt; default 10s, at most 20s.
	Timeout time.Duration
	// Grace is how long Run waits for attempts in flight when it ends; default 5s.
	Grace time.Duration
	// Logger takes one line for each attempt; default none.
	Logger *slog.Logger
	// Registerer takes the metrics; default none.
	Registerer prometheus.Registerer
}

// withDefaults returns c with every field set, or says which is wrong.
func (c Config) withDefaults() (Config, error) {
	c.ResolvConf = cmp.Or(c.ResolvConf, "/etc/resolv.conf")
	c.HTTP01Port = cmp.Or(c.HTTP01Port, 80)
	c.TLSALPN01Port = cmp.Or(c.TLSALPN01Port, 443)
	c.Concurrency = cmp.Or(c.Concurrency, 64)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Grace = cmp.Or(c.Grace, 5*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	switch {
	case c.Queue == nil:
		return c, errors.New("validation needs a queue")
	case c.Concurrency < 0:
		return c, fmt.Errorf("validation concurrency is %d, less than 1", c.Concurrency)
	case c.Timeout < 0 || c.Timeout > maxTimeout:
		return c, fmt.Errorf("validation timeout is %s, not between 0 and %s", c.Timeout, maxTimeout)
	case len(c.AccountHashes) > len(c.AccountURLs):
		return c, errors.New("validation has more prefixes of account hashes than of account URLs")
	case !isPort(c.HTTP01Port) || !isPort(c.TLSALPN01Port):
		return c, fmt.Errorf("validation ports are %d and %d, not between 1 and 65535", c.HTTP01Port, c.TLSALPN01Port)
	}
	return c, nil
}

// isPort reports whether n is a port that can be dialled.
func isPort(n int) bool { return n > 0 && n < 1<<16 }
