package validation

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// maxAddresses bounds how many addresses of each family are tried.
const maxAddresses = 2

// dialer connects to identifiers. It resolves a name, asks the policy about what
// it found, and dials that: between the check and the connection no name is
// resolved, so an answer of the DNS that changes (rebinding) gains nothing.
type dialer struct {
	resolver *resolver
	policy   *policy
	// timeout bounds the connecting to one address.
	timeout time.Duration
}

// dial connects to a port of the first address of id that answers, of those that
// policy allows: IPv6 before IPv4. The caller closes the connection.
func (d *dialer) dial(ctx context.Context, id acme.Identifier, port int) (net.Conn, netip.AddrPort, *failure) {
	addrs, f := d.allowed(ctx, id)
	if f != nil {
		return nil, netip.AddrPort{}, f
	}
	var tried []string
	for _, addr := range addrs {
		target := netip.AddrPortFrom(addr, uint16(port))
		conn, err := d.connect(ctx, target)
		if err == nil {
			return conn, target, nil
		}
		tried = append(tried, fmt.Sprintf("%s: %s", target, cause(err)))
	}
	return nil, netip.AddrPort{}, failed(acme.Connection, "connecting to %s at %s", id, strings.Join(tried, ", "))
}

// connect dials one address.
func (d *dialer) connect(ctx context.Context, target netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", target.String())
}

// allowed returns the addresses of id that may be dialled, at least one.
func (d *dialer) allowed(ctx context.Context, id acme.Identifier) ([]netip.Addr, *failure) {
	found, f := d.addresses(ctx, id)
	if f != nil {
		return nil, f
	}
	var addrs []netip.Addr
	var refusal *failure
	for _, addr := range found {
		if r, forbidden := d.policy.refuses(addr); !forbidden {
			addrs = append(addrs, addr)
		} else if refusal == nil {
			refusal = refused(acme.Connection, "validation.networks refuses %s (%s)%s", addr, r, whose(id))
		}
	}
	if len(addrs) == 0 {
		return nil, refusal
	}
	return firstOfEach(addrs), nil
}

// addresses returns the addresses of id: those of the name, or the address itself.
func (d *dialer) addresses(ctx context.Context, id acme.Identifier) ([]netip.Addr, *failure) {
	if id.Type != acme.IP {
		return d.resolver.addresses(ctx, id.Value)
	}
	addr, err := netip.ParseAddr(id.Value)
	if err != nil {
		return nil, refused(acme.Malformed, "%q is not an address", acme.Excerpt(id.Value))
	}
	return []netip.Addr{addr}, nil
}

// whose says of which name an address is.
func whose(id acme.Identifier) string {
	if id.Type == acme.IP {
		return ""
	}
	return ", the address of " + id.Value
}

// firstOfEach returns the first few addresses of each family, IPv6 first.
func firstOfEach(addrs []netip.Addr) []netip.Addr {
	var v6, v4 []netip.Addr
	for _, addr := range addrs {
		if addr.Is4() {
			v4 = append(v4, addr)
		} else {
			v6 = append(v6, addr)
		}
	}
	return slices.Concat(v6[:min(len(v6), maxAddresses)], v4[:min(len(v4), maxAddresses)])
}
