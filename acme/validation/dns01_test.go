package validation_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// dnsValue returns what the TXT record should be (RFC 8555 §8.4).
func dnsValue(v *acme.Validation) string {
	digest := sha256.Sum256([]byte(keyAuthorization(v)))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func TestDNS01(t *testing.T) {
	t.Parallel()
	const name = "_acme-challenge.foo.example"
	for title, test := range map[string]struct {
		set  func(dns *acmetest.DNS, value string)
		want expectation
	}{
		"the digest of the key authorization proves control": {
			set: func(dns *acmetest.DNS, value string) { dns.SetTXT(name, value) },
		},
		"it may stand among other records": {
			set: func(dns *acmetest.DNS, value string) { dns.SetTXT(name, "", "v=spf1 -all", value, "other") },
		},
		"an alias may lead to it": {
			set: func(dns *acmetest.DNS, value string) {
				dns.SetCNAME(name, "a.elsewhere.example")
				dns.SetCNAME("a.elsewhere.example", "b.elsewhere.example")
				dns.SetTXT("b.elsewhere.example", value)
			},
		},
		"an answer that is too long for UDP is asked for by TCP": {
			set: func(dns *acmetest.DNS, value string) { dns.SetTXT(name, value); dns.SetTruncated(name) },
		},
		"a name that does not exist may still appear": {
			set: func(*acmetest.DNS, string) {},
			want: expectation{problem: acme.DNSProblem, says: []string{
				"dns-01: looking up TXT of " + name + ": NXDOMAIN, the name does not exist",
			}},
		},
		"a name without a TXT record may still get one": {
			set:  func(dns *acmetest.DNS, _ string) { dns.SetA(name, loopback4) },
			want: expectation{problem: acme.IncorrectResponse, says: []string{name + " has no TXT record"}},
		},
		"records of others are told, a few and cut short": {
			set: func(dns *acmetest.DNS, _ string) {
				dns.SetTXT(name, "old\x00\"value", strings.Repeat("x", 1000), "3", "4", "5", "6", "7")
			},
			want: expectation{
				problem: acme.IncorrectResponse,
				says:    []string{`"old\\000`, "x…", `"5", and 2 more`},
				hides:   []string{strings.Repeat("x", 200), `"6"`},
			},
		},
		"the value is not trimmed": {
			set:  func(dns *acmetest.DNS, value string) { dns.SetTXT(name, value+" ", value+"=", strings.ToUpper(value)) },
			want: expectation{problem: acme.IncorrectResponse},
		},
		"a server's failure is told": {
			set:  func(dns *acmetest.DNS, _ string) { dns.SetRcode(name, "SERVFAIL") },
			want: expectation{problem: acme.DNSProblem, says: []string{"TXT of " + name + ": SERVFAIL"}},
		},
		"a server's refusal is told": {
			set:  func(dns *acmetest.DNS, _ string) { dns.SetRcode(name, "REFUSED") },
			want: expectation{problem: acme.DNSProblem, says: []string{"TXT of " + name + ": REFUSED"}},
		},
		"aliases that go round are told": {
			set:  func(dns *acmetest.DNS, _ string) { dns.SetCNAME(name, name) },
			want: expectation{problem: acme.DNSProblem, says: []string{"SERVFAIL"}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.DNS01, "foo.example")
			test.set(l.dns, dnsValue(v))
			test.want.check(t, l.attempt(t, v))
		})
	}
}

func TestDNS01OfAWildcardIsProvedAtItsBase(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.DNS01, "*.foo.example")
	l.dns.SetTXT("_acme-challenge.foo.example", dnsValue(v))
	expectation{}.check(t, l.attempt(t, v))
}

func TestDNS01WhereTheServerIsSilent(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.DNS01, "foo.example")
	l.config.Timeout = 5 * time.Second
	l.dns.SetSilent("_acme-challenge.foo.example")
	want := expectation{problem: acme.DNSProblem, says: []string{"asking " + l.dns.Address() + ": timed out"}}
	want.check(t, l.attempt(t, v))
	if n := l.dns.Queries("_acme-challenge.foo.example", "TXT"); n != 2 {
		t.Errorf("a silent server was asked %d times, want 2", n)
	}
}

func TestDNS01AsksTheNextServer(t *testing.T) {
	t.Parallel()
	const name = "_acme-challenge.foo.example"
	for title, test := range map[string]struct {
		first func(dns *acmetest.DNS)
		want  expectation
	}{
		"after a failure": {first: func(dns *acmetest.DNS) { dns.SetRcode(name, "SERVFAIL") }},
		"after a refusal": {first: func(dns *acmetest.DNS) { dns.SetRcode(name, "REFUSED") }},
		"after silence":   {first: func(dns *acmetest.DNS) { dns.SetSilent(name) }},
		"but not after it learned that there is no such name": {
			first: func(*acmetest.DNS) {},
			want:  expectation{problem: acme.DNSProblem, says: []string{"NXDOMAIN"}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.DNS01, "foo.example")
			second := acmetest.StartDNS(t)
			l.config.Timeout = 5 * time.Second
			l.config.Resolvers = []string{l.dns.Address(), second.Address()}
			test.first(l.dns)
			second.SetTXT(name, dnsValue(v))
			test.want.check(t, l.attempt(t, v))
		})
	}
}

func TestAddressLookupsOfOneFamilyAreEnough(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
	l.dns.SetA("foo.example") // the name exists, and has no address
	want := expectation{problem: acme.DNSProblem, says: []string{"foo.example has neither an A nor an AAAA record"}}
	want.check(t, l.attempt(t, v))

	responder := acmetest.StartHTTP01(t)
	responder.Set(v.Token, keyAuthorization(v))
	l.config.HTTP01Port = responder.Port()
	l.dns.SetA("foo.example", loopback4)
	expectation{}.check(t, l.attempt(t, v))
}

func TestAnswersToOtherQuestionsAreNotTaken(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() { // says the question back, as a question: neither an answer nor a failure
		packet := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(packet[:n], from)
		}
	}()
	l, v := newLab(t), validationOf(t, acme.DNS01, "foo.example")
	l.config.Resolvers = []string{conn.LocalAddr().String()}
	want := expectation{problem: acme.DNSProblem, says: []string{"the answer is to another question"}}
	want.check(t, l.attempt(t, v))
}
