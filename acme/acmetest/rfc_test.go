package acmetest_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
	"github.com/acme-ca/acme-ca-operator/acme/validation"
)

// tenantKey is the MAC key of the external account "tenant".
var tenantKey = []byte("a key of thirty-two octets......")

func TestTheServerKeepsTheRFCsAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	var proving, trusting []acmetest.RFCResult
	t.Run("servers", func(t *testing.T) { // returns when both have been asked
		t.Run("one that wants proofs", func(t *testing.T) {
			t.Parallel()
			proving = acmetest.TestRFC(t, startProving(t))
		})
		t.Run("one that trusts its accounts", func(t *testing.T) {
			t.Parallel()
			trusting = acmetest.TestRFC(t, startTrusting(t))
		})
	})
	compareDocument(t, acmetest.JoinRFC(proving, trusting))
}

// startProving serves with proofs by real responders.
func startProving(t *testing.T) *acmetest.Target {
	t.Helper()
	memory, listener := acmetest.NewMemory(), acmetest.Listen(t)
	dns, http01, tlsALPN01 := acmetest.StartDNS(t), acmetest.StartHTTP01(t), acmetest.StartTLSALPN01(t)
	base := "https://" + listener.Addr().String()
	dns.SetDefaultA(netip.MustParseAddr("127.0.0.1"))
	worker, err := validation.New(validation.Config{
		Queue: memory, Resolvers: []string{dns.Address()}, HTTP01Port: http01.Port(), TLSALPN01Port: tlsALPN01.Port(),
		Networks:      validation.Networks{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		CAAIdentities: []string{"ca.example"}, AccountURLs: []string{base + server.AccountPath}, AccountHashes: []string{base + server.AccountHashPath},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = worker.Run(t.Context()) }()
	s := acmetest.StartServerAt(t, listener, memory, server.Config{
		Validator: worker, CAA: worker, AuthorizationReuse: time.Hour, Challenges: acme.ChallengeTypes,
		Meta:             server.Meta{TermsOfService: "https://ca.example/terms", CAAIdentities: []string{"ca.example"}},
		ExternalAccounts: server.ExternalAccounts{Keys: map[string][]byte{"tenant": tenantKey}},
	})
	return &acmetest.Target{
		DirectoryURL: s.DirectoryURL(), HTTP: s.Client(), HTTP01: http01, TLSALPN01: tlsALPN01, DNS: dns,
		Challenges:       acme.ChallengeTypes,
		ExternalAccounts: map[string][]byte{"tenant": tenantKey}, Known: acmetest.ServerDifferences(),
	}
}

// startTrusting serves with trusted accounts and external account binding.
func startTrusting(t *testing.T) *acmetest.Target {
	t.Helper()
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{ExternalAccounts: server.ExternalAccounts{
		Required: true, Keys: map[string][]byte{"tenant": tenantKey},
	}})
	return &acmetest.Target{
		DirectoryURL: s.DirectoryURL(), HTTP: s.Client(), Trusted: true, Address: "192.0.2.1",
		ExternalAccounts: map[string][]byte{"tenant": tenantKey}, Known: acmetest.ServerDifferences(),
	}
}
