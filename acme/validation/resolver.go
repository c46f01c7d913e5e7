package validation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// udpSize is the size of answers asked for by EDNS0: what passes every link
	// unfragmented, as fragments can be forged (RFC 9715 §3).
	udpSize = 1232
	// rounds is how often each server is asked in a lookup: a datagram may be lost.
	rounds = 2
)

// resolver asks recursive DNS servers. It follows no alias: they do. It keeps
// nothing: what is proved is what the DNS says now.
type resolver struct {
	servers []string // host:port, in the order in which they are asked
	// clusterDomain completes names below "svc"; empty where there is no cluster.
	clusterDomain string
	// timeout bounds one exchange with one server.
	timeout time.Duration
}

// newResolver returns one for the servers given (host or host:port), or else for
// those of the file, in the format of resolv.conf(5).
func newResolver(servers []string, resolvConf string, timeout time.Duration) (*resolver, error) {
	r := &resolver{timeout: timeout}
	if len(servers) > 0 {
		for _, s := range servers {
			r.servers = append(r.servers, withPort(s))
		}
		return r, nil
	}
	file, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("validation.resolvers is empty, and the system's are not known: %w", err)
	}
	if len(file.Servers) == 0 {
		return nil, fmt.Errorf("validation.resolvers is empty, and %s names none", resolvConf)
	}
	for _, s := range file.Servers {
		r.servers = append(r.servers, withPort(s))
	}
	r.clusterDomain = clusterDomain(file.Search)
	return r, nil
}

// withPort adds the port of DNS to a server that has none.
func withPort(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), "53")
}

// clusterDomain finds the domain of a Kubernetes cluster in a search list, where
// it stands both by itself and below "svc".
func clusterDomain(search []string) string {
	var domains []string
	for _, domain := range search {
		domains = append(domains, dns.CanonicalName(domain))
	}
	for _, domain := range domains {
		if slices.Contains(domains, "svc."+domain) {
			return domain
		}
	}
	return ""
}

// absolute returns the name that is asked for: see the package's comment.
func (r *resolver) absolute(name string) string {
	name = dns.Fqdn(name)
	if r.clusterDomain != "" && strings.HasSuffix(name, ".svc.") {
		return name + r.clusterDomain
	}
	return name
}

// addresses returns the addresses of a name, IPv6 first, in the order of the
// answers. One family is enough: an error of the other's lookup is then of no
// interest.
func (r *resolver) addresses(ctx context.Context, name string) ([]netip.Addr, *failure) {
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	ask := func(qtype uint16) answer {
		records, err := r.lookup(ctx, name, qtype)
		return answer{addressesOf(records), err}
	}
	v6 := make(chan answer, 1)
	go func() { v6 <- ask(dns.TypeAAAA) }()
	four := ask(dns.TypeA)
	six := <-v6

	if addrs := slices.Concat(six.addrs, four.addrs); len(addrs) > 0 {
		return addrs, nil
	}
	// The lookup of A tells more: a server that knows no AAAA is common.
	if err := cmp.Or(four.err, six.err); err != nil {
		return nil, failed(acme.DNSProblem, "%v", err)
	}
	return nil, failed(acme.DNSProblem, "%s has neither an A nor an AAAA record", name)
}

// addressesOf returns the addresses among the records of an answer.
func addressesOf(records []dns.RR) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range records {
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA)
		}
		if addr.IsValid() {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// texts returns the TXT records of a name, each with its strings joined (RFC
// 7208 §3.3 has the reason). There may be none.
func (r *resolver) texts(ctx context.Context, name string) ([]string, *failure) {
	records, err := r.lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, failed(acme.DNSProblem, "%v", err)
	}
	var texts []string
	for _, rr := range records {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(txt.Txt, ""))
		}
	}
	return texts, nil
}

// dnsError says why a lookup has no answer.
type dnsError struct {
	name   string
	qtype  uint16
	server string
	rcode  int   // of the answer, where err is nil
	err    error // why there was no answer
}

// Error tells a name that does not exist, a server's refusal and silence apart.
func (e *dnsError) Error() string {
	question := fmt.Sprintf("%s of %s", dns.TypeToString[e.qtype], strings.TrimSuffix(e.name, "."))
	switch {
	case e.err != nil:
		return fmt.Sprintf("looking up %s: asking %s: %s", question, e.server, cause(e.err))
	case e.rcode == dns.RcodeNameError:
		return fmt.Sprintf("looking up %s: NXDOMAIN, the name does not exist (asked %s)", question, e.server)
	default:
		rcode := cmp.Or(dns.RcodeToString[e.rcode], fmt.Sprintf("response code %d", e.rcode))
		return fmt.Sprintf("looking up %s: %s (asked %s)", question, rcode, e.server)
	}
}

// lookup asks the servers in turn until one knows: an answer with or without
// records, or that there is no such name. The error is a [*dnsError].
func (r *resolver) lookup(ctx context.Context, name string, qtype uint16) ([]dns.RR, error) {
	query := new(dns.Msg).SetQuestion(r.absolute(name), qtype)
	query.SetEdns0(udpSize, false)
	var last error
	for range rounds {
		for _, server := range r.servers {
			answer, err := r.exchange(ctx, query, server)
			switch {
			case err == nil && answer.Rcode == dns.RcodeSuccess:
				return answer.Answer, nil
			case err == nil:
				last = &dnsError{name: query.Question[0].Name, qtype: qtype, server: server, rcode: answer.Rcode}
				if answer.Rcode == dns.RcodeNameError {
					return nil, last
				}
			default:
				last = &dnsError{name: query.Question[0].Name, qtype: qtype, server: server, err: err}
			}
			if ctx.Err() != nil {
				return nil, last
			}
		}
	}
	return nil, last
}

// errMismatch says that a server answered what it was not asked.
var errMismatch = errors.New("the answer is to another question")

// exchange asks one server, by UDP from a fresh port, and by TCP what was too
// long for that. A panic in the parsing of what came is its error: it happens in
// a goroutine of its own, where it would take the process down.
func (r *resolver) exchange(ctx context.Context, query *dns.Msg, server string) (answer *dns.Msg, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, fmt.Errorf("reading the answer: %v", p)
		}
	}()
	query = query.Copy()
	for _, network := range []string{"udp", "tcp"} {
		query.Id = dns.Id()
		client := &dns.Client{Net: network, Timeout: r.timeout}
		answer, _, err = client.ExchangeContext(ctx, query, server)
		if answer == nil || !answer.Truncated {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if len(answer.Question) != 1 || !answer.Response ||
		answer.Question[0].Qtype != query.Question[0].Qtype ||
		!strings.EqualFold(answer.Question[0].Name, query.Question[0].Name) {
		return nil, errMismatch
	}
	return answer, nil
}
