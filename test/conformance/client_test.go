package conformance

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// client is a foreign ACME client, as the scenarios drive it: with a key, and no
// account yet.
type client interface {
	// register makes an account for the client's key, bound to an external one
	// where b is not nil, or finds that which the key has. It returns its URL.
	register(ctx context.Context, b *binding) (account string, err error)
	// obtain orders a certificate, proves control of its names, and writes PEM.
	obtain(ctx context.Context, o order) (pemFiles, error)
	// renew gets another certificate for the same order, before the first is due.
	renew(ctx context.Context, f pemFiles, o order) (pemFiles, error)
	// revoke revokes a certificate that it obtained.
	revoke(ctx context.Context, f pemFiles) error
}

// keyChanger is a client that can give its account another key.
type keyChanger interface {
	changeKey(ctx context.Context) error
}

// renewalAsker is a client that asks when to renew (RFC 9773), and whose renew says
// which certificate is replaced.
type renewalAsker interface {
	renewalWindow(ctx context.Context, f pemFiles) (start, end time.Time, err error)
}

// order is what a client is asked to get a certificate for. Names may be
// addresses and wildcards. By is the way to prove control. An empty profile is the
// server's default. Chain is the common name of the root that the chain should lead
// to; the server's default where it is empty.
type order struct {
	names   []string
	by      acme.ChallengeType
	profile string
	chain   string
}

// pemFiles is where a client left a certificate with its chain, and its key.
type pemFiles struct{ chain, key string }

// kind is a row of the table: a client, and what it can do at all.
type kind struct {
	name  string
	start func(t *testing.T, l *lab) client
	// program is true of what is no library of this process. Programs take seconds of
	// computing for what takes a library none: they are driven against serve alone.
	program bool
	proves  []acme.ChallengeType
	// cannot has scenarios by their names that the client, not this server, is unfit
	// for; because says why its row has gaps, in the README.
	cannot  []string
	because string
}

// kinds lists the clients.
var kinds = []kind{
	{
		name: "lego", start: newLego, proves: append(slices.Clone(acme.DefaultChallenges), acme.DNSPersist01),
		because: "knows no dns-account-01",
	},
	{
		name: "x/crypto/acme", start: newXCrypto, proves: acme.DefaultChallenges,
		cannot:  []string{asksWhenItIsDue},
		because: "asks for no renewal information, and knows neither dns-account-01 nor dns-persist-01",
	},
	{name: "acmez", start: newAcmez, proves: acme.ChallengeTypes},
	{
		name: "certbot", start: newCertbot, program: true, proves: []acme.ChallengeType{acme.HTTP01, acme.DNS01},
		cannot:  []string{findsItsAccount, provesAnAddress, asksForAProfile, changesItsKey, asksWhenItIsDue},
		because: "2.1, that of Debian 12, has no tls-alpn-01, orders no certificates for addresses, registers a key once only, never changes it, and knows neither the challenges of drafts, profiles nor renewal information",
	},
	{
		name: "uacme", start: newUacme, program: true, proves: []acme.ChallengeType{acme.HTTP01, acme.DNS01},
		cannot:  []string{asksForAProfile, asksWhenItIsDue},
		because: "leaves tls-alpn-01 to another program, ualpn, and knows neither the challenges of drafts, profiles nor renewal information",
	},
	{
		name: "dehydrated", start: newDehydrated, program: true, proves: acme.DefaultChallenges,
		cannot:  []string{provesAnAddress, asksForAProfile, changesItsKey, asksWhenItIsDue},
		because: "0.7.0, that of Debian 12, orders no certificates for addresses, never changes its key, and knows neither the challenges of drafts, profiles nor renewal information",
	},
	{
		name: "acmetool", start: newAcmetool, program: true, proves: []acme.ChallengeType{acme.HTTP01, acme.DNS01},
		cannot: []string{
			provesAnAddress, readsWhy, findsItsAccount, changesItsKey, asksForAProfile, prefersAChain, renewsItEarly, asksWhenItIsDue,
			revokesIt, livesAWholeLife, bindsItsAccount, isRefusedUnbound,
		},
		because: "0.2.2, that of Debian 12, has no hook for tls-alpn-01, orders no certificates for addresses, tells what it tried last and not what failed before, registers when it orders, renews nothing that is not due, revokes nothing (it notes that a certificate is to be, and asks nobody), so that its life is to register and to get, and knows neither external accounts, other chains, the challenges of drafts, profiles nor renewal information",
	},
}
