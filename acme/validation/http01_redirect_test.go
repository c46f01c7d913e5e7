package validation_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// redirectTo answers everything with a redirect.
func redirectTo(location string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	}
}

func TestHTTP01Redirects(t *testing.T) {
	t.Parallel()
	incorrect := func(says ...string) expectation {
		return expectation{problem: acme.IncorrectResponse, final: true, says: says}
	}
	for name, test := range map[string]struct {
		location string
		want     expectation
	}{
		"to a scheme that is not the web's":  {"ftp://foo.example/x", incorrect("only http and https", "ftp://foo.example/x", "status 302")},
		"to a file":                          {"file:///etc/passwd", incorrect("only http and https")},
		"to a port of something else":        {"http://foo.example:22/", incorrect("only the ports")},
		"to a port that is none":             {"http://foo.example:99999/", incorrect("only the ports")},
		"to nowhere":                         {"", incorrect("names no location")},
		"to what is not a URL":               {"http://[::1/", incorrect("not a URL")},
		"to no host":                         {"http:///x", incorrect("neither a domain name nor an address")},
		"to an address written as a number":  {"http://2130706433/", incorrect("neither a domain name nor an address")},
		"to an address with a zone":          {"http://[fe80::1%25lo]/", incorrect("neither a domain name nor an address")},
		"to an IPv4 address written as IPv6": {"http://[::ffff:169.254.169.254]/", incorrect("neither a domain name nor an address")},
		"to a wildcard":                      {"http://*.example/", incorrect("neither a domain name nor an address")},
		"to the metadata service": {"http://169.254.169.254/latest/meta-data/", expectation{
			problem: acme.Connection, final: true, says: []string{"validation.networks refuses 169.254.169.254 (169.254.0.0/16, link-local)", "redirected from"},
		}},
		"to a name of the metadata service": {"http://metadata.example/", expectation{
			problem: acme.Connection, final: true, says: []string{"validation.networks refuses 169.254.169.254", "the address of metadata.example"},
		}},
		"to a name that does not exist": {"http://nowhere.example/", expectation{
			problem: acme.DNSProblem, says: []string{"NXDOMAIN", "nowhere.example"},
		}},
		"to itself": {"/.well-known/acme-challenge/again", incorrect("more than 10 redirects")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
			l.dns.SetA("metadata.example", metadata)
			l.serve(t, redirectTo(test.location))
			test.want.check(t, l.attempt(t, v))
		})
	}
}

func TestHTTP01FollowsTenRedirects(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
	var requests atomic.Int32
	l.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= 10 {
			http.Redirect(w, r, fmt.Sprintf("/%s", strings.Repeat("x", 500)), http.StatusMovedPermanently)
			return
		}
		fmt.Fprint(w, keyAuthorization(v))
	})
	expectation{}.check(t, l.attempt(t, v))
}

func TestHTTP01FollowsRedirectsToHTTPSOfAnyCertificate(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Referer") != "" || r.TLS.ServerName != "foo.example" {
			http.Error(w, fmt.Sprint(r.Header), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, keyAuthorization(v))
	}))
	t.Cleanup(secure.Close)
	l.config.TLSALPN01Port = portOf(t, secure.URL)
	l.serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		http.Redirect(w, r, "https://user:secret@foo.example"+r.URL.Path+"#top", http.StatusPermanentRedirect)
	})
	expectation{}.check(t, l.attempt(t, v))
}

func TestHTTP01RedirectToAServerWithoutTLSIsNotProof(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
	server := l.serve(t, redirectTo("https://foo.example/"))
	l.config.TLSALPN01Port = portOf(t, server.URL)
	got := l.attempt(t, v)
	expectation{problem: acme.TLS, says: []string{"https://foo.example/", "does not look like a TLS handshake"}}.check(t, got)
}

// A redirect chooses what is fetched: the body of that, and where it redirects
// in turn, would show the client what only the validator can reach.
func TestHTTP01RepeatsNothingOfDocumentsThatARedirectChose(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"a page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "TOP-SECRET") },
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "TOP-SECRET", http.StatusUnauthorized)
		},
		"a redirect that is followed": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/internal" {
				http.Redirect(w, r, "/login?TOP-SECRET", http.StatusFound)
			}
		},
		"a redirect that is refused": redirectTo("ftp://TOP-SECRET/"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
			l.serve(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/.well-known/") {
					http.Redirect(w, r, "http://foo.example/internal", http.StatusFound)
					return
				}
				handler(w, r)
			})
			got := l.attempt(t, v)
			if got.problem == nil {
				t.Fatal("control was proved")
			}
			if strings.Contains(got.problem.Detail, "TOP-SECRET") {
				t.Errorf("the detail shows what was found: %s", got.problem.Detail)
			}
		})
	}
}

func TestHTTP01ResolvesOncePerConnection(t *testing.T) {
	t.Parallel()
	t.Run("a name that is rebound to a denied address is dialled where it was checked", func(t *testing.T) {
		t.Parallel()
		l, v := newLab(t), validationOf(t, acme.HTTP01, "rebound.example")
		l.dns.SetAInTurn("rebound.example", []netip.Addr{loopback4}, []netip.Addr{metadata})
		responder := acmetest.StartHTTP01(t)
		responder.Set(v.Token, keyAuthorization(v))
		l.config.HTTP01Port = responder.Port()
		expectation{}.check(t, l.attempt(t, v))
		if n := l.dns.Queries("rebound.example", "A"); n != 1 {
			t.Errorf("the name was resolved %d times", n)
		}
	})
	t.Run("a name that is rebound from a denied address is refused", func(t *testing.T) {
		t.Parallel()
		l, v := newLab(t), validationOf(t, acme.HTTP01, "rebound.example")
		l.dns.SetAInTurn("rebound.example", []netip.Addr{metadata}, []netip.Addr{loopback4})
		responder := acmetest.StartHTTP01(t)
		responder.Set(v.Token, keyAuthorization(v))
		l.config.HTTP01Port = responder.Port()
		want := expectation{problem: acme.Connection, final: true, says: []string{"rebound.example", "169.254.169.254", "validation.networks"}}
		want.check(t, l.attempt(t, v))
		if n := responder.Requests(); n != 0 {
			t.Errorf("%d requests were made", n)
		}
	})
	t.Run("each redirect is checked anew", func(t *testing.T) {
		t.Parallel()
		l, v := newLab(t), validationOf(t, acme.HTTP01, "rebound.example")
		l.dns.SetAInTurn("rebound.example", []netip.Addr{loopback4}, []netip.Addr{metadata})
		l.serve(t, redirectTo("http://rebound.example/latest/meta-data"))
		want := expectation{problem: acme.Connection, final: true, says: []string{"169.254.169.254", "validation.networks"}}
		want.check(t, l.attempt(t, v))
	})
}
