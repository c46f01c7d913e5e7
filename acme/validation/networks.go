package validation

import (
	"fmt"
	"net/netip"
)

// Networks bounds what is dialled. The longest prefix that holds an address
// decides; of prefixes with the same length, Deny wins. An address that no
// prefix holds is allowed, private ones included, but for those of [reserved],
// which an entry of Allow must name: one that is at least as long.
//
// An IPv4 address that is written as IPv6 (RFC 4291 §2.5.5.2) is the IPv4
// address. One that a translator or a tunnel would take for IPv4 (6to4, NAT64)
// is denied where the IPv4 address is, unless it is named itself.
type Networks struct {
	Allow, Deny []netip.Prefix
}

// reserved lists what is never dialled unless it is named: addresses of this
// host, of its link, of nobody in particular, and those by which clouds hand
// credentials to whoever can reach them.
var reserved = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"}, // Linux takes 0.0.0.0 for this host
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"}, // the metadata service of most clouds
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("100.100.100.200/32"), "cloud metadata"}, // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata"},   // Azure
	{netip.MustParsePrefix("192.0.0.192/32"), "cloud metadata"},     // Oracle
	{netip.MustParsePrefix("::/96"), "unspecified, or IPv4-compatible"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("2001::/32"), "a Teredo tunnel"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a local translator to IPv4"}, // RFC 8215: where the address stands in it is not known
	{netip.MustParsePrefix("fd00:ec2::254/128"), "cloud metadata"},          // Amazon
	{netip.MustParsePrefix("fd20:ce::254/128"), "cloud metadata"},           // Google
}

// embeddings lists the prefixes of IPv6 whose next 32 bits are an IPv4 address.
var embeddings = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("2002::/16"), "6to4"},     // RFC 3056 §2
	{netip.MustParsePrefix("64:ff9b::/96"), "NAT64"}, // RFC 6052 §2.1
}

// rank orders rules of the same length.
type rank int

const (
	byDefault rank = iota // an entry of reserved
	byAllow
	byDeny
)

// rule is a prefix that decides on the addresses in it.
type rule struct {
	prefix netip.Prefix
	rank   rank
	name   string // what the prefix is, for the reader
	// bits is the prefix's length, or that of the whole embedding.
	bits int
}

// denies reports whether the rule forbids its addresses.
func (r rule) denies() bool { return r.rank != byAllow }

// beats reports whether r decides where other holds the address too.
func (r rule) beats(other rule) bool {
	return r.bits > other.bits || r.bits == other.bits && r.rank > other.rank
}

// String names the rule as an error shows it.
func (r rule) String() string {
	if r.name == "" {
		return r.prefix.String()
	}
	return fmt.Sprintf("%s, %s", r.prefix, r.name)
}

// policy is the rules of a [Networks] with those of [reserved].
type policy struct{ rules []rule }

// newPolicy returns the policy of n. The error names a prefix that is not one.
func newPolicy(n Networks) (*policy, error) {
	p := new(policy)
	for _, r := range reserved {
		p.rules = append(p.rules, rule{r.prefix, byDefault, r.name, r.prefix.Bits()})
	}
	for _, list := range []struct {
		field    string
		rank     rank
		prefixes []netip.Prefix
	}{{"allow", byAllow, n.Allow}, {"deny", byDeny, n.Deny}} {
		for i, prefix := range list.prefixes {
			if !prefix.IsValid() {
				return nil, fmt.Errorf("networks.%s[%d] is not a prefix", list.field, i)
			}
			prefix = unmapPrefix(prefix)
			p.rules = append(p.rules, rule{prefix: prefix, rank: list.rank, bits: prefix.Bits()})
		}
	}
	return p, nil
}

// unmapPrefix returns the IPv4 prefix that p is the IPv6 form of, or p.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
	}
	return p.Masked()
}

// refuses returns the rule that forbids an address, and whether there is one.
func (p *policy) refuses(addr netip.Addr) (rule, bool) {
	addr = addr.Unmap().WithZone("")
	decisive, found := p.match(addr)
	if inner, forbidden := p.refusesEmbedded(addr); forbidden && (!found || inner.beats(decisive)) {
		return inner, true
	}
	return decisive, found && decisive.denies()
}

// match returns the rule that decides on an address, if one does.
func (p *policy) match(addr netip.Addr) (decisive rule, found bool) {
	for _, r := range p.rules {
		if r.prefix.Contains(addr) && (!found || r.beats(decisive)) {
			decisive, found = r, true
		}
	}
	return decisive, found
}

// refusesEmbedded returns the rule that forbids the IPv4 address within addr. It
// counts as long as the whole of what it says about addr, so that a rule for the
// tunnel or translator as such does not lift it.
func (p *policy) refusesEmbedded(addr netip.Addr) (rule, bool) {
	for _, e := range embeddings {
		if !e.prefix.Contains(addr) {
			continue
		}
		bytes := addr.As16()
		inner := netip.AddrFrom4([4]byte(bytes[e.prefix.Bits()/8:]))
		r, found := p.match(inner)
		r.bits += e.prefix.Bits()
		r.name = fmt.Sprintf("for %s within %s", inner, e.name)
		return r, found && r.denies()
	}
	return rule{}, false
}
