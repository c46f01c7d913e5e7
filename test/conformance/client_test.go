package conformance

import (
	"context"
	"testing"

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
	// revoke revokes a certificate that it obtained.
	revoke(ctx context.Context, f pemFiles) error
}

// order is what a client is asked to get a certificate for. Names may be
// addresses and wildcards. By is the way to prove control.
type order struct {
	names []string
	by    acme.ChallengeType
}

// pemFiles is where a client left a certificate with its chain, and its key.
type pemFiles struct{ chain, key string }

// kind is a row of the table: a client, and what it can do at all.
type kind struct {
	name   string
	start  func(t *testing.T, l *lab) client
	proves []acme.ChallengeType
	// cannot has scenarios by their names that the client, not this server, is unfit
	// for; because says why its row has gaps, in the README.
	cannot  []string
	because string
}

// kinds lists the clients.
var kinds = []kind{
	{name: "lego", start: newLego, proves: acme.ChallengeTypes},
	{name: "x/crypto/acme", start: newXCrypto, proves: acme.ChallengeTypes},
	{name: "acmez", start: newAcmez, proves: acme.ChallengeTypes},
	{
		name: "certbot", start: newCertbot, proves: []acme.ChallengeType{acme.HTTP01, acme.DNS01},
		cannot:  []string{findsItsAccount, provesAnAddress},
		because: "2.1, that of Debian 12, has no tls-alpn-01, orders no certificates for addresses, and registers a key once only",
	},
	{
		name: "uacme", start: newUacme, proves: []acme.ChallengeType{acme.HTTP01, acme.DNS01},
		because: "leaves tls-alpn-01 to another program, ualpn",
	},
	{
		name: "dehydrated", start: newDehydrated, proves: acme.ChallengeTypes,
		cannot:  []string{provesAnAddress},
		because: "0.7.0, that of Debian 12, orders no certificates for addresses",
	},
}
