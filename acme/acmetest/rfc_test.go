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

// known explains where our own server differs from the letter.
var known = map[string]string{
	"a valid order is orderNotReady, 403": "a client whose connection broke in finalize asks again, and is given the certificate that was issued",
	"a notAfter that cannot be granted is refused": "an end beyond the profile's lifetime is clamped to it: clients ask by " +
		"durations of their own configuration, and a refusal would be final for them",
}

func TestTheServerKeepsTheRFCs(t *testing.T) {
	t.Parallel()
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
		ExternalAccounts: server.ExternalAccounts{Keys: map[string][]byte{"tenant": []byte("a key of thirty-two octets......")}},
	})
	acmetest.TestRFC(t, &acmetest.Target{
		DirectoryURL: s.DirectoryURL(), HTTP: s.Client(), HTTP01: http01, TLSALPN01: tlsALPN01, DNS: dns,
		Challenges:       acme.ChallengeTypes,
		ExternalAccounts: map[string][]byte{"tenant": []byte("a key of thirty-two octets......")}, Known: known,
	})
}

func TestAServerThatTrustsItsAccountsKeepsTheRFCs(t *testing.T) {
	t.Parallel()
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{ExternalAccounts: server.ExternalAccounts{
		Required: true, Keys: map[string][]byte{"tenant": []byte("a key of thirty-two octets......")},
	}})
	acmetest.TestRFC(t, &acmetest.Target{
		DirectoryURL: s.DirectoryURL(), HTTP: s.Client(), Trusted: true, Address: "192.0.2.1",
		ExternalAccounts: map[string][]byte{"tenant": []byte("a key of thirty-two octets......")}, Known: known,
	})
}
