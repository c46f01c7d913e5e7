package acme_test

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/idna"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// ldhName is a domain name, or a wildcard, as RFC 5280 §4.2.1.6 (the preferred
// name syntax of RFC 1034 §3.5, as RFC 1123 §2.1 changed it) and RFC 6125 §6.4.3
// have it: written another time, and in another way than where it is enforced.
var ldhName = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// FuzzParseIdentifier: what is taken is in the one form that a certificate can
// have it in, says what was sent, and is taken again as it is; what is not is
// refused by a problem that says which identifier it is about.
func FuzzParseIdentifier(f *testing.F) {
	f.Fuzz(func(t *testing.T, typ, value string) {
		id, err := acme.ParseIdentifier(typ, value)
		if err != nil {
			var p *acme.Problem
			if !errors.As(err, &p) || p.Identifier == nil {
				t.Errorf("%q: %v, want a problem with the identifier", value, err)
			}
			return
		}
		if string(id.Type) != typ {
			t.Errorf("%q of type %q has become one of type %q", value, typ, id.Type)
		}
		if again, err := acme.ParseIdentifier(string(id.Type), id.Value); err != nil || again != id {
			t.Errorf("%q became %v, which parses as %v, %v", value, id, again, err)
		}
		if base := id.Base(); base.IsWildcard() {
			t.Errorf("%q is a wildcard of wildcards", value)
		}
		switch id.Type {
		case acme.DNS:
			checkDNS(t, id.Value, value)
		case acme.IP:
			checkIP(t, id.Value, value)
		}
	})
}

// checkDNS holds a domain name against the RFCs, and against what was sent.
func checkDNS(t *testing.T, name, sent string) {
	t.Helper()
	const longest = 253 // RFC 1035 §2.3.4, without the length of the root
	if !ldhName.MatchString(name) || len(strings.TrimPrefix(name, "*.")) > longest {
		t.Errorf("%q is no name", name)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		t.Errorf("%q is an address", name)
	}
	if len(name) != len(sent) || !strings.EqualFold(name, sent) {
		t.Errorf("%q is not the lower case of %q", name, sent)
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(name, "*."), ".") {
		// RFC 8555 §7.1.4: what begins with xn-- is properly encoded.
		if u, err := idna.Lookup.ToUnicode(label); err != nil || u == label && strings.HasPrefix(label, "xn--") {
			t.Errorf("%q is %q: %v", label, u, err)
		}
	}
}

// checkIP holds an address against RFC 8738, and against what was sent.
func checkIP(t *testing.T, text, sent string) {
	t.Helper()
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.String() != text || addr.Zone() != "" || addr.Is4In6() {
		t.Errorf("%q is not the one text of an address that can be certified: %v", text, err)
	}
	if given, err := netip.ParseAddr(sent); err != nil || given != addr {
		t.Errorf("%q is not the address %q", text, sent)
	}
}
