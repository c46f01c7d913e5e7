package acme

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// IdentifierType is a type of RFC 8555 §9.7.7.
type IdentifierType string

// The identifier types served.
const (
	DNS IdentifierType = "dns" // RFC 8555 §9.7.7: a domain name in lower case, A-labels only
	IP  IdentifierType = "ip"  // RFC 8738: an address in the text form of RFC 5952
)

// Identifier is what a certificate is asked for (RFC 8555 §7.1.3). One that
// [ParseIdentifier] returned is normalised, so that two are the same exactly
// when they are equal.
type Identifier struct {
	Type  IdentifierType `json:"type"`
	Value string         `json:"value"`
}

// The bounds of RFC 1035 §2.3.4, in octets of the text form without a last dot.
const (
	maxNameLength  = 253
	maxLabelLength = 63
)

// aLabelPrefix begins the labels of international names (RFC 5890 §2.3.2.5).
const aLabelPrefix = "xn--"

// wildcardPrefix begins the value of a dns identifier that stands for every
// name one label below (RFC 8555 §7.1.3).
const wildcardPrefix = "*."

// ParseIdentifier checks and normalises an identifier as a client sent it. The
// error is a [Problem] of type malformed, unsupportedIdentifier or
// rejectedIdentifier that carries the identifier.
func ParseIdentifier(typ, value string) (Identifier, error) {
	given := Identifier{Type: IdentifierType(typ), Value: value}
	reject := func(t ProblemType, detail string) (Identifier, error) {
		p := Problemf(t, "identifier %q of type %q: %s", Excerpt(value), Excerpt(typ), detail)
		p.Identifier = &Identifier{Type: IdentifierType(Excerpt(typ)), Value: Excerpt(value)}
		return Identifier{}, p
	}
	switch given.Type {
	case DNS:
		given.Value = strings.Map(lowerASCII, value)
		if detail := checkName(strings.TrimPrefix(given.Value, wildcardPrefix)); detail != "" {
			return reject(RejectedIdentifier, detail)
		}
		return given, nil
	case IP:
		addr, err := netip.ParseAddr(value)
		switch {
		case err != nil:
			return reject(Malformed, "not an IP address")
		case addr.Zone() != "" || addr.Is4In6():
			return reject(RejectedIdentifier, "an address with a zone, or an IPv4 address written as IPv6, cannot stand in a certificate")
		}
		// RFC 8738 §3 asks for the form of RFC 5952; others are understood and rewritten.
		given.Value = addr.String()
		return given, nil
	default:
		return reject(UnsupportedIdentifier, `the types served are "dns" and "ip"`)
	}
}

// checkName returns what is wrong with a domain name in lower case, or "".
// Names of one label are legal: a private authority's users have them.
func checkName(name string) string {
	switch {
	case name == "":
		return "the name is empty"
	case len(name) > maxNameLength:
		return "the name is longer than 253 octets"
	case strings.HasSuffix(name, "."):
		return "write the name without its last dot"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if detail := checkLabel(label); detail != "" {
			return detail
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return `a name whose last label is a number is not a domain name; an address has the type "ip"`
	}
	return ""
}

// checkLabel returns what is wrong with one label by the LDH rule of RFC 5890
// §2.3.1, or "".
func checkLabel(label string) string {
	switch {
	case label == "":
		return "the name has an empty label"
	case len(label) > maxLabelLength:
		return "the name has a label longer than 63 octets"
	case label[0] == '-' || label[len(label)-1] == '-':
		return "the name has a label that begins or ends with a hyphen"
	case len(label) >= 4 && label[2:4] == "--" && !strings.HasPrefix(label, aLabelPrefix):
		return "the name has a reserved label (hyphens in the third and fourth place)"
	}
	for _, r := range label {
		switch {
		case r == '*':
			return `"*" may only stand alone, as the first label`
		case r >= 0x80:
			return "write international names as A-labels (xn--…)"
		case (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-':
			return "a name has only letters, digits, hyphens and dots"
		}
	}
	if strings.HasPrefix(label, aLabelPrefix) && !isALabel(label) {
		return "the name has a label that begins with xn-- and encodes no international one"
	}
	return ""
}

// isALabel reports whether a label in lower case that begins with xn-- is the
// encoding of an international label, which RFC 8555 §7.1.4 has servers verify:
// what encodes nothing, or is not the one encoding of what it encodes, is shown to
// people as something else than what was proved.
func isALabel(label string) bool {
	decoded, err := idna.Lookup.ToUnicode(label)
	if err != nil {
		return false
	}
	encoded, err := idna.Lookup.ToASCII(decoded)
	return err == nil && encoded == label
}

// lowerASCII returns the lower case of an ASCII letter, and others as they are:
// the lower case of some that are not ASCII is (K, the Kelvin sign, becomes k), and
// who sent one did not name what would be certified.
func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// IsWildcard reports whether the identifier stands for all names below one.
func (i Identifier) IsWildcard() bool {
	return i.Type == DNS && strings.HasPrefix(i.Value, wildcardPrefix)
}

// Base returns the identifier whose control is proved: itself, or for a
// wildcard the domain it is below (RFC 8555 §7.1.4).
func (i Identifier) Base() Identifier {
	return Identifier{Type: i.Type, Value: strings.TrimPrefix(i.Value, wildcardPrefix)}
}

// Wildcard returns the identifier that stands for all names below i.
func (i Identifier) Wildcard() Identifier {
	return Identifier{Type: i.Type, Value: wildcardPrefix + i.Value}
}

// String returns the value: its form tells the type.
func (i Identifier) String() string { return i.Value }

// SortIdentifiers returns ids in order, each once.
func SortIdentifiers(ids []Identifier) []Identifier {
	sorted := slices.Clone(ids)
	slices.SortFunc(sorted, func(a, b Identifier) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Value, b.Value))
	})
	return slices.Compact(sorted)
}
