package acmetest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
	"github.com/acme-ca/acme-ca-operator/acme/validation"
)

const (
	failuresDocument = root + "/docs/validation.md"
	failuresBegin    = "<!-- failures: go test ./acme/acmetest -run Failure -update -->\n"
	failuresEnd      = "<!-- end of failures -->\n"
)

// failures are the usual reasons why a challenge fails, each with a name of its own,
// and what helps. The text that a user sees of each is in the document.
var failures = []struct {
	name, happened string
	challenge      acme.ChallengeType
	set            func(w *world, name, proof string)
	help           string
}{
	{
		"body.example", "another page is served at the URL", acme.HTTP01,
		func(w *world, name, _ string) { w.serve(name, body("<html>Welcome</html>")) },
		"Let the client's solver answer below `/.well-known/acme-challenge/`: a proxy, a default backend or an old file is before it.",
	},
	{
		"missing.example", "nothing is served at the URL", acme.HTTP01,
		func(w *world, name, _ string) { w.serve(name, http.NotFound) },
		"As before. With cert-manager see that the solver's Ingress or HTTPRoute was taken by the controller that the name leads to.",
	},
	{
		"nowhere.example", "the name does not exist", acme.HTTP01,
		func(*world, string, string) {},
		"Make the name's A or AAAA record, or correct it. The DNS server is the one that the validators ask (`validation.dns.resolvers`, or the pod's).",
	},
	{
		"servfail.example", "the DNS server has no answer", acme.HTTP01,
		func(w *world, name, _ string) { w.dns.SetRcode(name, "SERVFAIL") },
		"Ask the server named for the name: its upstream does not answer, or DNSSEC is broken.",
	},
	{
		"closed.example", "nobody listens", acme.HTTP01,
		func(w *world, name, _ string) { w.dns.SetA(name, netip.MustParseAddr("127.0.0.9")) },
		"Listen on port 80 of the address, or correct the record.",
	},
	{
		"silent.example", "the web server does not answer", acme.HTTP01,
		func(w *world, name, _ string) {
			w.serve(name, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		},
		"See that the server answers from inside of the cluster: firewalls, NetworkPolicies, and load balancers that do not lead back in.",
	},
	{
		"metadata.example", "the name is an address that validators do not dial", acme.HTTP01,
		func(w *world, name, _ string) { w.dns.SetA(name, netip.MustParseAddr("169.254.169.254")) },
		"Correct the record; if the address is meant, name it in `validation.networks.allow`.",
	},
	{
		"redirect.example", "a redirect leads there", acme.HTTP01,
		func(w *world, name, _ string) {
			w.serve(name, func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, fmt.Sprintf("http://169.254.169.254:%d/latest", w.port), http.StatusFound)
			})
		},
		"Take the redirect away for `/.well-known/acme-challenge/`.",
	},
	{
		"port.example", "a redirect leads to another port", acme.HTTP01,
		func(w *world, name, _ string) {
			w.serve(name, func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "https://port.example:9443"+r.URL.Path, http.StatusMovedPermanently)
			})
		},
		"Redirect to the ports 80 and 443 only, or not at all.",
	},
	{
		"txt.example", "the TXT record is another", acme.DNS01,
		func(w *world, name, _ string) { w.dns.SetTXT("_acme-challenge."+name, "of-an-earlier-order") },
		"Wait until the record is at every server of the zone before responding (cert-manager's self check), and remove old ones.",
	},
	{
		"notxt.example", "there is no TXT record", acme.DNS01,
		func(*world, string, string) {},
		"See that the client writes into the zone that the validators' DNS server sees: with split DNS it is easily the other one.",
	},
	{
		"tls.example", "another certificate is shown", acme.TLSALPN01,
		func(w *world, name, _ string) {
			id := acme.Identifier{Type: acme.DNS, Value: name}
			if err := w.tls.Set(name, id, "another"); err != nil {
				panic(err)
			}
			w.dns.SetA(name, loopback)
		},
		"Let TLS through to the client's own listener: what ends TLS before it shows its own certificate.",
	},
	{
		"persist.example", "the lasting record names another account", acme.DNSPersist01,
		func(w *world, name, _ string) {
			w.dns.SetTXT("_validation-persist."+name, "ca.example; accounturi=https://ca.example/account/1")
		},
		"Write the record with the account that orders; the text has what would be right.",
	},
	{
		"caa.example", "CAA names another authority", acme.DNS01,
		func(w *world, name, proof string) {
			w.dns.SetTXT("_acme-challenge."+name, proof)
			w.dns.SetCAA(name, `0 issue "other.example"`)
		},
		"Add a record with one of the authority's names (`directory.caaIdentities`).",
	},
	{
		"nocaa.example", "CAA cannot be looked up", acme.DNS01,
		func(w *world, name, proof string) {
			w.dns.SetTXT("_acme-challenge."+name, proof)
			w.dns.SetRcode(name, "SERVFAIL")
		},
		"There might be records: let the DNS server answer for the name, and for the domains above it.",
	},
}

var loopback = netip.MustParseAddr("127.0.0.1")

// world is what validators look at.
type world struct {
	dns  *acmetest.DNS
	tls  *acmetest.TLSALPN01
	port int // of HTTP

	mu    sync.Mutex
	pages map[string]http.HandlerFunc // by host
}

// serve gives a name a web server.
func (w *world) serve(name string, page http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[name] = page
	w.dns.SetA(name, loopback)
}

// ServeHTTP implements [http.Handler].
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	w.mu.Lock()
	page := w.pages[host]
	w.mu.Unlock()
	page(rw, r)
}

// body returns a page of a text.
func body(text string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(text)) }
}

// startFailing returns a server whose validators look at a world of the test's.
func startFailing(t *testing.T) (*acmetest.Server, *world) {
	t.Helper()
	w := &world{dns: acmetest.StartDNS(t), tls: acmetest.StartTLSALPN01(t), pages: map[string]http.HandlerFunc{}}
	web := httptest.NewServer(w)
	t.Cleanup(web.Close)
	w.port = int(netip.MustParseAddrPort(web.Listener.Addr().String()).Port())
	memory, listener := acmetest.NewMemory(), acmetest.Listen(t)
	base := "https://" + listener.Addr().String()
	worker, err := validation.New(validation.Config{
		Queue: memory, Resolvers: []string{w.dns.Address()}, HTTP01Port: w.port, TLSALPN01Port: w.tls.Port(),
		Networks:      validation.Networks{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		CAAIdentities: []string{"ca.example"}, Timeout: 5 * time.Second,
		AccountURLs: []string{base + server.AccountPath}, AccountHashes: []string{base + server.AccountHashPath},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = worker.Run(t.Context()) }()
	return acmetest.StartServerAt(t, listener, memory, server.Config{
		Validator: worker, CAA: worker, Challenges: acme.ChallengeTypes, Meta: server.Meta{CAAIdentities: []string{"ca.example"}},
	}), w
}

func TestTheTextOfEachUsualFailureIsInTheDocument(t *testing.T) {
	t.Parallel()
	s, w := startFailing(t)
	rows := make([]string, len(failures))
	var wait sync.WaitGroup
	for i, f := range failures {
		c := s.NewAccount(t)
		thumbprint, err := acme.ThumbprintOf(&jose.JSONWebKey{Key: c.Key.Public()})
		if err != nil {
			t.Fatal(err)
		}
		order, err := c.NewOrder(t.Context(), f.name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.GetAuthorization(t.Context(), order.Authorizations[0])
		if err != nil {
			t.Fatal(err)
		}
		ch := challengeOf(t, a, f.challenge)
		keyAuthorization := acme.KeyAuthorization(a.Challenges[0].Token, thumbprint)
		proof := acmetest.DNS01Value(keyAuthorization)
		if f.name == "notxt.example" {
			w.dns.SetA("_acme-challenge."+f.name, loopback)
		}
		f.set(w, f.name, proof)
		wait.Go(func() {
			problem, err := fail(t, c, ch)
			if err != nil {
				t.Errorf("%s: %v", f.happened, err)
				return
			}
			text := strings.NewReplacer(
				keyAuthorization, "TOKEN.THUMBPRINT", a.Challenges[0].Token, "TOKEN", proof, "DIGEST", w.dns.Address(), "10.96.0.10:53",
				fmt.Sprintf(":%d", w.port), ":80", fmt.Sprintf("ports %d and %d", w.port, w.tls.Port()), "ports 80 and 443",
				fmt.Sprintf(":%d", w.tls.Port()), ":443", s.URL, "https://internal.pki.svc", "127.0.0.", "10.20.0.",
			).Replace(problem.Detail)
			text = regexp.MustCompile(`[0-9a-f]{68}`).ReplaceAllString(text, "0420…")
			text = regexp.MustCompile(`sha-256/[\w-]{43}`).ReplaceAllString(text, "sha-256/HASH")
			rows[i] = fmt.Sprintf("### %s (%s)\n\n```text\n%s: %s\n```\n\n%s\n\n", f.happened, f.challenge, problem.Type, text, f.help)
		})
	}
	wait.Wait()
	if t.Failed() {
		return
	}
	compareFailures(t, "\n"+strings.Join(rows, ""))
}

// challengeOf returns the challenge of a type.
func challengeOf(t *testing.T, a *acmetest.Authorization, typ acme.ChallengeType) acmetest.Challenge {
	t.Helper()
	for _, ch := range a.Challenges {
		if ch.Type == typ {
			return ch
		}
	}
	t.Fatalf("no %s is offered", typ)
	return acmetest.Challenge{}
}

// fail responds to a challenge and returns why it is invalid.
func fail(t *testing.T, c *acmetest.Client, ch acmetest.Challenge) (*acme.Problem, error) {
	var payload any = map[string]any{}
	for {
		resp, err := c.Post(t.Context(), ch.URL, payload)
		if err == nil {
			err = resp.Err()
		}
		if err != nil {
			return nil, err
		}
		if err := resp.Decode(&ch); err != nil {
			return nil, err
		}
		switch ch.Status {
		case acme.ChallengeInvalid:
			return ch.Error, nil
		case acme.ChallengeValid:
			return nil, fmt.Errorf("the challenge is valid")
		}
		payload = nil // from now on it is read
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			return nil, t.Context().Err()
		}
	}
}

// compareFailures holds the document against the texts, or writes them into it.
func compareFailures(t *testing.T, want string) {
	t.Helper()
	before, rest, ok := strings.Cut(read(t, failuresDocument), failuresBegin)
	found, after, ok2 := strings.Cut(rest, failuresEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the failures", failuresDocument)
	}
	if *update {
		if err := os.WriteFile(failuresDocument, []byte(before+failuresBegin+want+failuresEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("%s is out of date (-update writes it): -want +found\n%s", failuresDocument, diff)
	}
}
