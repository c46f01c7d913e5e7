package acmetest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// DNS is a DNS server on loopback, by UDP and TCP, that says what it was told
// to. It stands in for a recursive resolver. A name that it was told nothing of
// does not exist (NXDOMAIN). Names are given without a last dot, in any case. All
// methods are safe for concurrent use, and take effect with the next query.
type DNS struct {
	address netip.AddrPort
	servers []*dns.Server

	mu      sync.Mutex
	names   map[string]*dnsName
	queries map[dnsQuestion]int
	// fallback is what names without addresses of their own have.
	fallback []netip.Addr
}

// dnsName is what is known of a name.
type dnsName struct {
	// addresses has the answers to come; the last one stays.
	addresses [][]netip.Addr
	// asked counts the queries of each type, to tell which answer is due.
	asked map[uint16]int
	texts []string
	caa   []dns.RR
	cname string
	rcode int
	// silent names are not answered; truncated ones only by TCP.
	silent, truncated bool
}

// dnsQuestion is what queries are counted by.
type dnsQuestion struct {
	name  string
	qtype uint16
}

// StartDNS returns a running server, which ends with the test.
func StartDNS(tb testing.TB) *DNS {
	tb.Helper()
	d, err := ServeDNS("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.Close() })
	return d
}

// ServeDNS returns a server that runs at address (host:port; port 0 stands for a
// free one) until it is closed.
func ServeDNS(address string) (*DNS, error) {
	const tries = 10 // a port that is free for UDP may be in use for TCP
	var packets net.PacketConn
	var listener net.Listener
	var err error
	for range tries {
		if packets, err = net.ListenPacket("udp", address); err != nil {
			return nil, fmt.Errorf("listen for DNS: %w", err)
		}
		if listener, err = net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			break
		}
		_ = packets.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("listen for DNS: %w", err)
	}
	d := &DNS{
		address: listener.Addr().(*net.TCPAddr).AddrPort(),
		names:   make(map[string]*dnsName), queries: make(map[dnsQuestion]int),
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: d}, {Listener: listener, Handler: d}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }() // ends by Close
		<-started
		d.servers = append(d.servers, server)
	}
	return d, nil
}

// Close ends the server.
func (d *DNS) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // waits for no query
	for _, server := range d.servers {
		_ = server.ShutdownContext(ctx)
	}
	return nil
}

// Address is where the server answers, host:port.
func (d *DNS) Address() string { return d.address.String() }

// SetA gives a name addresses: A records of those of IPv4, AAAA of those of IPv6.
func (d *DNS) SetA(name string, addresses ...netip.Addr) { d.SetAInTurn(name, addresses) }

// SetAInTurn gives a name other addresses with each query of a type; the last
// answer stays. It is how names are rebound.
func (d *DNS) SetAInTurn(name string, answers ...[]netip.Addr) {
	d.update(name, func(n *dnsName) { n.addresses, n.asked = answers, make(map[uint16]int) })
}

// SetDefaultA gives addresses to every name that has none of its own.
func (d *DNS) SetDefaultA(addresses ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fallback = addresses
}

// SetTXT gives a name TXT records, one for each value. Values longer than 255
// bytes are split into strings of a record. A backslash begins an escape, as in
// zone files (RFC 1035 §5.1).
func (d *DNS) SetTXT(name string, values ...string) {
	d.update(name, func(n *dnsName) { n.texts = values })
}

// SetCAA gives a name CAA records, each as a zone file has it behind the type, such
// as `0 issue "ca.example"` (RFC 8659 §4.1.1). It panics where one is not.
func (d *DNS) SetCAA(name string, records ...string) {
	var parsed []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(dns.CanonicalName(name) + " 0 IN CAA " + r)
		if err != nil {
			panic(fmt.Sprintf("acmetest: %q is not a CAA record: %v", r, err))
		}
		parsed = append(parsed, rr)
	}
	d.update(name, func(n *dnsName) { n.caa = parsed })
}

// SetCNAME makes a name an alias. Answers have the records of the target, as
// recursive resolvers give them.
func (d *DNS) SetCNAME(name, target string) {
	d.update(name, func(n *dnsName) { n.cname = dns.CanonicalName(target) })
}

// SetRcode has queries for a name answered with a response code, such as
// SERVFAIL or REFUSED. It panics where there is no such code.
func (d *DNS) SetRcode(name, rcode string) {
	code, ok := dns.StringToRcode[rcode]
	if !ok {
		panic(fmt.Sprintf("acmetest: %q is not a DNS response code", rcode))
	}
	d.update(name, func(n *dnsName) { n.rcode = code })
}

// SetSilent has queries for a name not answered at all.
func (d *DNS) SetSilent(name string) { d.update(name, func(n *dnsName) { n.silent = true }) }

// SetTruncated has queries for a name answered by TCP only; by UDP the answer is
// empty and says that it was cut.
func (d *DNS) SetTruncated(name string) { d.update(name, func(n *dnsName) { n.truncated = true }) }

// Remove forgets what was said of a name.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, dns.CanonicalName(name))
}

// Queries returns how often a name was asked for records of a type, such as A or
// TXT, so far. A question that is asked again by TCP counts twice.
func (d *DNS) Queries(name, qtype string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries[dnsQuestion{dns.CanonicalName(name), dns.StringToType[qtype]}]
}

// update changes what is known of a name.
func (d *DNS) update(name string, change func(*dnsName)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = dns.CanonicalName(name)
	if d.names[name] == nil {
		d.names[name] = new(dnsName)
	}
	change(d.names[name])
}

// ServeDNS answers a query; it implements [dns.Handler].
func (d *DNS) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	_, udp := w.LocalAddr().(*net.UDPAddr)
	reply := d.reply(query, udp)
	if reply == nil {
		return
	}
	if udp {
		size := dns.MinMsgSize
		if options := query.IsEdns0(); options != nil {
			size = max(size, int(options.UDPSize()))
		}
		reply.Truncate(size)
	}
	_ = w.WriteMsg(reply) // who asked may have gone
}

// reply returns the answer to a query, or nil where there is to be none.
func (d *DNS) reply(query *dns.Msg, udp bool) *dns.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	question := query.Question[0]
	name := dns.CanonicalName(question.Name)
	d.queries[dnsQuestion{name, question.Qtype}]++

	const maxAliases = 8
	for range maxAliases {
		known := d.names[name]
		switch {
		case known == nil && len(d.fallback) == 0:
			reply.Rcode = dns.RcodeNameError
			return reply
		case known == nil:
			known = new(dnsName)
		case known.silent:
			return nil
		case known.truncated && udp:
			reply.Truncated = true
			return reply
		case known.rcode != dns.RcodeSuccess:
			reply.Rcode = known.rcode
			return reply
		}
		if known.cname == "" {
			reply.Answer = append(reply.Answer, d.records(name, question.Qtype, known)...)
			return reply
		}
		reply.Answer = append(reply.Answer, &dns.CNAME{Hdr: dnsHeader(name, dns.TypeCNAME), Target: known.cname})
		name = known.cname
	}
	reply.Rcode = dns.RcodeServerFailure // the aliases go round
	return reply
}

// records returns the records of a type that a name has.
func (d *DNS) records(name string, qtype uint16, known *dnsName) []dns.RR {
	switch qtype {
	case dns.TypeCAA:
		return known.caa
	case dns.TypeTXT:
		var records []dns.RR
		for _, text := range known.texts {
			records = append(records, &dns.TXT{Hdr: dnsHeader(name, qtype), Txt: dnsStrings(text)})
		}
		return records
	}
	addresses := d.fallback
	if len(known.addresses) > 0 {
		turn := min(known.asked[qtype], len(known.addresses)-1)
		known.asked[qtype]++
		addresses = known.addresses[turn]
	}
	var records []dns.RR
	for _, addr := range addresses {
		switch {
		case qtype == dns.TypeA && addr.Is4():
			records = append(records, &dns.A{Hdr: dnsHeader(name, qtype), A: addr.AsSlice()})
		case qtype == dns.TypeAAAA && !addr.Is4():
			records = append(records, &dns.AAAA{Hdr: dnsHeader(name, qtype), AAAA: addr.AsSlice()})
		}
	}
	return records
}

// dnsHeader returns the head of a record that nobody may keep.
func dnsHeader(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET}
}

// dnsStrings splits a text into the strings of a record, at least one.
func dnsStrings(text string) []string {
	const maxString = 255
	if text == "" {
		return []string{""}
	}
	var parts []string
	for part := range slices.Chunk([]byte(text), maxString) {
		parts = append(parts, string(part))
	}
	return parts
}
