package validation

import (
	"net/netip"
	"strings"
	"testing"
)

// prefixes reads prefixes that are separated by spaces.
func prefixes(s string) (list []netip.Prefix) {
	for p := range strings.FieldsSeq(s) {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		allow, deny      string
		allowed, refused string // addresses
	}{
		"public and private addresses are allowed, special ones are not": {
			allowed: "8.8.8.8 10.1.2.3 172.16.0.1 192.168.1.1 100.64.0.1 2600::1 fd00::1",
			refused: "127.0.0.1 127.8.8.8 0.0.0.0 0.1.2.3 169.254.169.254 224.0.0.1 239.1.1.1 255.255.255.255 " +
				":: ::1 fe80::1 febf::1 fe80::1%eth0 ff02::1 ::127.0.0.1 ::8.8.8.8 " +
				"100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 fd20:ce::254",
		},
		"an IPv4 address written as IPv6 is the IPv4 address": {
			deny:    "10.0.0.0/8",
			allowed: "::ffff:8.8.8.8",
			refused: "::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1",
		},
		"a prefix written so is one of IPv4": {
			deny:    "::ffff:10.0.0.0/104",
			allowed: "11.0.0.1",
			refused: "10.0.0.1",
		},
		"addresses within tunnels and translators are judged": {
			deny:    "10.0.0.0/8",
			allowed: "2002:808:808::1 64:ff9b::808:808",
			refused: "2002:7f00:1::1 2002:a9fe:a9fe:: 2002:a00:1::1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::a00:1 " +
				"64:ff9b:1::808:808 2001:0:1::1",
		},
		"to allow a translator is not to allow what it leads to": {
			allow:   "64:ff9b::/96 2002::/16 ::/0",
			allowed: "64:ff9b::808:808 2002:808:808::1",
			refused: "64:ff9b::a9fe:a9fe 2002:7f00:1::1",
		},
		"unless that is named itself": {
			allow:   "64:ff9b::7f00:1/128",
			allowed: "64:ff9b::7f00:1",
			refused: "64:ff9b::7f00:2 127.0.0.1",
		},
		"special addresses are allowed where they are named": {
			allow:   "127.0.0.0/8 ::1/128 169.254.20.10/32",
			allowed: "127.0.0.1 ::1 169.254.20.10",
			refused: "169.254.169.254 fe80::1 ::2",
		},
		"but not by a prefix that holds more than they": {
			allow:   "0.0.0.0/0 ::/0",
			allowed: "8.8.8.8 2600::1",
			refused: "127.0.0.1 169.254.169.254 ::1 fe80::1 ::ffff:127.0.0.1",
		},
		"the longest prefix decides": {
			allow:   "10.1.0.0/16 10.1.1.1/32",
			deny:    "10.0.0.0/8 10.1.1.0/24",
			allowed: "10.1.2.3 10.1.1.1 11.0.0.1",
			refused: "10.2.0.1 10.1.1.2",
		},
		"deny wins over allow of the same length": {
			allow:   "10.0.0.0/8 127.0.0.0/8",
			deny:    "10.0.0.0/8 127.0.0.0/8",
			refused: "10.0.0.1 127.0.0.1",
		},
		"all but some are denied": {
			allow:   "10.0.0.0/8",
			deny:    "0.0.0.0/0 ::/0",
			allowed: "10.0.0.1 ::ffff:10.0.0.1",
			refused: "8.8.8.8 2600::1 127.0.0.1 64:ff9b::808:808",
		},
		"a prefix may be written with bits of a host": {
			deny:    "10.1.2.3/8",
			refused: "10.200.0.1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := newPolicy(Networks{Allow: prefixes(test.allow), Deny: prefixes(test.deny)})
			if err != nil {
				t.Fatal(err)
			}
			for addr := range strings.FieldsSeq(test.allowed) {
				if r, forbidden := p.refuses(netip.MustParseAddr(addr)); forbidden {
					t.Errorf("%s is refused (%s)", addr, r)
				}
			}
			for addr := range strings.FieldsSeq(test.refused) {
				if _, forbidden := p.refuses(netip.MustParseAddr(addr)); !forbidden {
					t.Errorf("%s is allowed", addr)
				}
			}
		})
	}
}

func TestNetworksThatAreNone(t *testing.T) {
	t.Parallel()
	_, err := newPolicy(Networks{Deny: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), {}}})
	if err == nil || !strings.Contains(err.Error(), "networks.deny[1]") {
		t.Errorf("error %v does not name the entry", err)
	}
}

func TestEveryReservedPrefixIsRefused(t *testing.T) {
	t.Parallel()
	p, err := newPolicy(Networks{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reserved {
		if _, forbidden := p.refuses(r.prefix.Addr()); !forbidden {
			t.Errorf("%s is allowed", r.prefix.Addr())
		}
		if r.prefix != r.prefix.Masked() {
			t.Errorf("%s has bits of a host", r.prefix)
		}
		named, err := newPolicy(Networks{Allow: []netip.Prefix{r.prefix}})
		if err != nil {
			t.Fatal(err)
		}
		last := r.prefix.Addr()
		if _, forbidden := named.refuses(last); forbidden && r.prefix.String() != "::/96" { // which holds ::1/128, named by itself
			t.Errorf("%s is refused though %s is named", last, r.prefix)
		}
	}
}
