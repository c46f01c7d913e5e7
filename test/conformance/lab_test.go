package conformance

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// lab is what a client finds itself in: a server, a DNS in which every name leads
// to this host, and the ports that the server's validators dial.
type lab struct {
	server                    *acmeServer
	dns                       *acmetest.DNS
	zone                      *zone
	http01Port, tlsALPN01Port int
	// ownHTTP01Port is where the client answers http-01: where it is not
	// http01Port, somebody else is answering there.
	ownHTTP01Port int
	// authority is the server's name in DNS records; empty where it has none.
	authority string
	// dir is the test's, for the files of all.
	dir string
	// The responders, once a client without its own has asked for one.
	http01Responder    *acmetest.HTTP01
	tlsALPN01Responder *acmetest.TLSALPN01
}

// newLab starts a target, and all that is around it.
func newLab(t *testing.T, on target, o options) *lab {
	t.Helper()
	l := newBareLab(t)
	l.authority = o.authority
	if o.stranger {
		l.letAStrangerAnswer(t)
	}
	l.server = on.start(t, l, o)
	return l
}

// newBareLab returns a lab without a server.
func newBareLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{dns: acmetest.StartDNS(t), http01Port: freePort(t), tlsALPN01Port: freePort(t), dir: t.TempDir()}
	l.ownHTTP01Port, l.zone = l.http01Port, &zone{dns: l.dns, values: make(map[string][]string)}
	l.dns.SetDefaultA(netip.MustParseAddr("127.0.0.1"))
	return l
}

// strangerSays is the beginning of what a stranger answers to http-01.
const strangerSays = "This domain is parked"

// letAStrangerAnswer has somebody else's web server listen on the port that
// validators dial; the client's own is on another, in vain.
func (l *lab) letAStrangerAnswer(t *testing.T) {
	t.Helper()
	l.ownHTTP01Port = freePort(t)
	stranger := &http.Server{
		Addr: loopback(l.http01Port), ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strangerSays)) }),
	}
	serve(t, stranger)
}

// http01 starts a responder for clients that have none of their own, once.
func (l *lab) http01(t *testing.T) *acmetest.HTTP01 {
	t.Helper()
	if l.http01Responder != nil {
		return l.http01Responder
	}
	h, err := acmetest.ServeHTTP01(loopback(l.ownHTTP01Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	l.http01Responder = h
	return h
}

// tlsALPN01 is http01 for the other way.
func (l *lab) tlsALPN01(t *testing.T) *acmetest.TLSALPN01 {
	t.Helper()
	if l.tlsALPN01Responder != nil {
		return l.tlsALPN01Responder
	}
	s, err := acmetest.ServeTLSALPN01(loopback(l.tlsALPN01Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l.tlsALPN01Responder = s
	return s
}

// zone is where clients put TXT records: a name may have several at a time, as a
// name and its wildcard are proved by records of the same name.
type zone struct {
	dns    *acmetest.DNS
	mu     sync.Mutex
	values map[string][]string
}

// add gives a name one more TXT record.
func (z *zone) add(name, value string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name = strings.TrimSuffix(name, ".")
	z.values[name] = append(z.values[name], value)
	z.dns.SetTXT(name, z.values[name]...)
}
