package acme_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestParseIdentifierNormalisesWhatIsGood(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ typ, value, want string }{
		{"dns", "example.com", "example.com"},
		{"dns", "EXAMPLE.com", "example.com"},
		{"dns", "*.Example.com", "*.example.com"},
		{"dns", "localhost", "localhost"},
		{"dns", "web.default.svc.cluster.local", "web.default.svc.cluster.local"},
		{"dns", "xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"dns", "*.XN--Strae-OQA.example", "*.xn--strae-oqa.example"},
		{"dns", "1.example", "1.example"},
		{"dns", strings.Repeat("a", 63) + ".example", strings.Repeat("a", 63) + ".example"},
		{"ip", "192.0.2.1", "192.0.2.1"},
		{"ip", "2001:DB8:0:0::1", "2001:db8::1"},
	} {
		got, err := acme.ParseIdentifier(tt.typ, tt.value)
		if err != nil || got.Value != tt.want || string(got.Type) != tt.typ {
			t.Errorf("ParseIdentifier(%q, %q) = %v, %v; want %q", tt.typ, tt.value, got, err, tt.want)
		}
	}
}

func TestParseIdentifierRefusesWhatCannotBeCertified(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		typ, value string
		want       acme.ProblemType
	}{
		{"dns", "", acme.RejectedIdentifier},
		{"dns", "*", acme.RejectedIdentifier},
		{"dns", "*.", acme.RejectedIdentifier},
		{"dns", "*.*.example.com", acme.RejectedIdentifier},
		{"dns", "a.*.example.com", acme.RejectedIdentifier},
		{"dns", "w*.example.com", acme.RejectedIdentifier},
		{"dns", "example.com.", acme.RejectedIdentifier},
		{"dns", "example..com", acme.RejectedIdentifier},
		{"dns", ".example.com", acme.RejectedIdentifier},
		{"dns", "-a.example", acme.RejectedIdentifier},
		{"dns", "a-.example", acme.RejectedIdentifier},
		{"dns", "ab--c.example", acme.RejectedIdentifier},
		{"dns", "a_b.example", acme.RejectedIdentifier},
		{"dns", "a b.example", acme.RejectedIdentifier},
		{"dns", "a\x00.example", acme.RejectedIdentifier},
		{"dns", "bücher.example", acme.RejectedIdentifier},
		{"dns", "\u212Aelvin.example", acme.RejectedIdentifier}, // lower case of the first letter: an ASCII k
		{"dns", "xn--.example", acme.RejectedIdentifier},
		{"dns", "xn--99999999.example", acme.RejectedIdentifier}, // no Punycode
		{"dns", "xn--abc-.example", acme.RejectedIdentifier},     // Punycode of abc
		{"dns", "xn--u-ccb.example", acme.RejectedIdentifier},    // ü, as two code points
		{"dns", "*.xn--4ca1e.example", acme.RejectedIdentifier},  // a capital
		{"dns", "192.0.2.1", acme.RejectedIdentifier},
		{"dns", strings.Repeat("a", 64) + ".example", acme.RejectedIdentifier},
		{"dns", strings.Repeat("a.", 127), acme.RejectedIdentifier},
		{"dns", strings.Repeat("a.", 127) + "a", acme.RejectedIdentifier},
		{"ip", "192.0.2.256", acme.Malformed},
		{"ip", "example.com", acme.Malformed},
		{"ip", "192.0.2.0/24", acme.Malformed},
		{"ip", "fe80::1%eth0", acme.RejectedIdentifier},
		{"ip", "::ffff:192.0.2.1", acme.RejectedIdentifier},
		{"email", "a@example.com", acme.UnsupportedIdentifier},
		{"", "example.com", acme.UnsupportedIdentifier},
	} {
		_, err := acme.ParseIdentifier(tt.typ, tt.value)
		var p *acme.Problem
		if !errors.As(err, &p) || p.Type != tt.want || p.Identifier == nil {
			t.Errorf("ParseIdentifier(%q, %q): %v; want %s with the identifier", tt.typ, tt.value, err, tt.want)
		}
	}
}

func TestAProvableNameIsThatOfTheDomainBelowWhichAWildcardStands(t *testing.T) {
	t.Parallel()
	wildcard := acme.Identifier{Type: acme.DNS, Value: "*.example.com"}
	if base := wildcard.Base(); base.Value != "example.com" || !wildcard.IsWildcard() || base.IsWildcard() {
		t.Errorf("Base of %v is %v", wildcard, base)
	}
	for _, tt := range []struct {
		challenge acme.ChallengeType
		id        acme.Identifier
		want      bool
	}{
		{acme.HTTP01, acme.Identifier{Type: acme.DNS, Value: "example.com"}, true},
		{acme.HTTP01, wildcard, false},
		{acme.TLSALPN01, wildcard, false},
		{acme.DNS01, wildcard, true},
		{acme.DNS01, acme.Identifier{Type: acme.IP, Value: "192.0.2.1"}, false},
		{acme.HTTP01, acme.Identifier{Type: acme.IP, Value: "192.0.2.1"}, true},
	} {
		if got := tt.challenge.Proves(tt.id); got != tt.want {
			t.Errorf("%s proves %v: %v, want %v", tt.challenge, tt.id, got, tt.want)
		}
	}
}
