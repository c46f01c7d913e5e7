package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// maxPort is the highest TCP or UDP port.
const maxPort = 65535

// validateURLs checks the base URLs. The server makes every link from one of
// them by appending a path, so that each must be an origin and nothing more.
func validateURLs(f *faults, urls []string) {
	if len(urls) == 0 {
		f.add("urls", "is empty: write the URL that clients reach the server by, such as https://internal.pki.svc")
	}
	for i, text := range urls {
		path := fmt.Sprintf("urls[%d]", i)
		validateOrigin(f, path, text, "https") // RFC 8555 §6.1
		once(f, path, text, urls[:i])
	}
}

// validateOrigin checks a base URL that is to have a scheme.
func validateOrigin(f *faults, path, text, scheme string) {
	if problem := checkOrigin(text, scheme); problem != "" {
		f.add(path, "%q %s: write %s://host or %[3]s://host:port", text, problem, scheme)
	}
}

// checkOrigin returns what is wrong with a base URL that is to have a scheme, or "".
func checkOrigin(text, scheme string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "is not a URL"
	case u.Scheme != scheme:
		return "is not an " + scheme + " URL"
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return "has more than a scheme, a host and a port"
	case checkHost(u.Hostname()) != "":
		return checkHost(u.Hostname())
	case u.Port() == "0":
		return "has the port 0"
	case u.Port() != "" && checkPort(u.Port()) != "":
		return checkPort(u.Port())
	case text != scheme+"://"+u.Host || strings.HasSuffix(u.Host, ":"):
		return "is not in its usual form"
	}
	return ""
}

// checkHost returns what is wrong with a host without its port, or "". It must
// be what a certificate can name: the server's own does.
func checkHost(host string) string {
	typ := acme.DNS
	if _, err := netip.ParseAddr(host); err == nil {
		typ = acme.IP
	}
	id, err := acme.ParseIdentifier(string(typ), host)
	if err != nil || id.IsWildcard() || id.Value != host {
		return "has no host that is a domain name in lower case or an IP address"
	}
	return ""
}

// checkPort returns what is wrong with the text of a port, or "". Zero is legal:
// a listener on it is given a free one.
func checkPort(port string) string {
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > maxPort {
		return "has no port from 0 to " + strconv.Itoa(maxPort)
	}
	return ""
}

// checkAddress returns what is wrong with an address to listen on, or "". Its
// host may be empty, which stands for every interface.
func checkAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return "has no host and port"
	case host != "" && checkHost(host) != "":
		return checkHost(host)
	}
	return checkPort(port)
}

// checkResolver returns what is wrong with a DNS server, or "".
func checkResolver(resolver string) string {
	if checkHost(resolver) == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(resolver)
	switch {
	case err != nil:
		return "is neither a host nor a host and a port"
	case checkHost(host) != "":
		return checkHost(host)
	case port == "0":
		return "has the port 0"
	}
	return checkPort(port)
}

// validateNetwork checks a network in CIDR notation. One with bits behind its
// prefix is refused: which of the two was meant is not to be guessed.
func validateNetwork(f *faults, path, cidr string) {
	p, err := netip.ParsePrefix(cidr)
	switch {
	case err != nil || p.Addr().Is4In6():
		f.add(path, "%q is not a network: write an address and a prefix length, such as 10.0.0.0/8", cidr)
	case p != p.Masked():
		f.add(path, "%q has bits set behind its prefix: write %s, or %s/%d for the one address", cidr, p.Masked(), p.Addr(), p.Addr().BitLen())
	}
}

// validateLink checks a URL that clients show to people; it may be missing.
func validateLink(f *faults, path, text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		f.add(path, "%q is not a URL: write one, such as https://pki.example/terms", text)
	}
}
