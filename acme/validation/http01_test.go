package validation_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// serve runs a web server on 127.0.0.1, makes it the lab's http-01 port, and
// returns it.
func (l *lab) serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	l.config.HTTP01Port = portOf(t, server.URL)
	return server
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestHTTP01Answers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, keyAuthorization string)
		want   expectation
	}{
		"the key authorization proves control": {
			answer: func(w http.ResponseWriter, _ *http.Request, k string) { fmt.Fprint(w, k) },
		},
		"white space may follow it (RFC 8555 §8.3)": {
			answer: func(w http.ResponseWriter, _ *http.Request, k string) { fmt.Fprint(w, k, " \t\r\n\n") },
		},
		"white space may not precede it": {
			answer: func(w http.ResponseWriter, _ *http.Request, k string) { fmt.Fprint(w, "\n", k) },
			want:   expectation{problem: acme.IncorrectResponse, final: true, says: []string{`body begins "\n`}},
		},
		"another account's key authorization is refused at once": {
			answer: func(w http.ResponseWriter, r *http.Request, _ string) {
				fmt.Fprint(w, acme.KeyAuthorization(r.URL.Path[len("/.well-known/acme-challenge/"):], acme.Thumbprint{9}))
			},
			want: expectation{problem: acme.IncorrectResponse, final: true, says: []string{"is not the key authorization"}},
		},
		"an empty body is refused": {
			answer: func(http.ResponseWriter, *http.Request, string) {},
			want:   expectation{problem: acme.IncorrectResponse, final: true, says: []string{`body begins ""`}},
		},
		"a missing document may still appear": {
			answer: func(w http.ResponseWriter, _ *http.Request, _ string) {
				http.Error(w, "no\x1b[31m such <page>", http.StatusNotFound)
			},
			want: expectation{
				problem: acme.IncorrectResponse,
				says: []string{
					"http-01 at http://foo.example/.well-known/acme-challenge/", "(127.0.0.1:",
					"status 404, want 200", `body begins "no\x1b[31m such <page>`,
				},
			},
		},
		"the right body with the wrong status is refused": {
			answer: func(w http.ResponseWriter, _ *http.Request, k string) {
				w.WriteHeader(http.StatusTeapot)
				fmt.Fprint(w, k)
			},
			want: expectation{problem: acme.IncorrectResponse, says: []string{"status 418, want 200"}},
		},
		"a body without an end is read no further than the bound": {
			answer: func(w http.ResponseWriter, r *http.Request, _ string) {
				for r.Context().Err() == nil {
					if _, err := fmt.Fprint(w, strings.Repeat("\x00A", 4096)); err != nil {
						return
					}
				}
			},
			want: expectation{problem: acme.IncorrectResponse, final: true, says: []string{"longer than 1024 bytes", `\x00A`}},
		},
		"a head without an end is read no further than the bound": {
			answer: func(w http.ResponseWriter, _ *http.Request, k string) {
				w.Header().Set("X-Long", strings.Repeat("a", 1<<20))
				fmt.Fprint(w, k)
			},
			want: expectation{problem: acme.Connection, says: []string{"header"}},
		},
		"a compressed body is not unpacked": {
			answer: func(w http.ResponseWriter, r *http.Request, k string) {
				if r.Header.Get("Accept-Encoding") != "" {
					http.Error(w, "asked for compression", http.StatusNotAcceptable)
					return
				}
				w.Header().Set("Content-Encoding", "gzip")
				fmt.Fprint(w, k)
			},
		},
		"the request carries nothing but what it must": {
			answer: func(w http.ResponseWriter, r *http.Request, k string) {
				r.Header.Del("Accept")
				if r.Host != "foo.example" || r.Method != http.MethodGet || !r.Close ||
					!strings.HasPrefix(r.UserAgent(), "acme-ca-operator") || len(r.Header) != 2 { // User-Agent, Connection
					http.Error(w, fmt.Sprint(r.Host, r.Header), http.StatusBadRequest)
					return
				}
				fmt.Fprint(w, k)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
			l.serve(t, func(w http.ResponseWriter, r *http.Request) { test.answer(w, r, keyAuthorization(v)) })
			test.want.check(t, l.attempt(t, v))
		})
	}
}

func TestHTTP01DialsIPv6FirstAndFallsBackToIPv4(t *testing.T) {
	t.Parallel()
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatalf("this test needs IPv6 on the loopback interface: %v", err)
	}
	port := six.Addr().(*net.TCPAddr).Port
	v := validationOf(t, acme.HTTP01, "both.example")
	for _, listener := range []net.Listener{six, listen(t, netip.AddrPortFrom(loopback4, uint16(port)))} {
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "answered by ", listener.Addr())
		})}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
	}
	l := newLab(t)
	l.dns.SetA("both.example", loopback4, loopback6)
	l.config.HTTP01Port = port
	want := expectation{problem: acme.IncorrectResponse, final: true, says: []string{fmt.Sprintf("([::1]:%d)", port), "answered by [::1]"}}
	want.check(t, l.attempt(t, v))

	_ = six.Close()
	want.says = []string{fmt.Sprintf("(127.0.0.1:%d)", port), "answered by 127.0.0.1"}
	want.check(t, l.attempt(t, v))
}

func listen(t *testing.T, address netip.AddrPort) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func TestHTTP01TakesTheAddressesThatAreAllowed(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.HTTP01, "mixed.example")
	l.dns.SetA("mixed.example", metadata, loopback4)
	responder := acmetest.StartHTTP01(t)
	responder.Set(v.Token, keyAuthorization(v))
	l.config.HTTP01Port = responder.Port()
	expectation{}.check(t, l.attempt(t, v))
}

func TestHTTP01OfAddresses(t *testing.T) {
	t.Parallel()
	for address, host := range map[string]string{"127.0.0.1": "127.0.0.1", "::1": "[::1]"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.HTTP01, address)
			listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
			if err != nil {
				t.Fatalf("this test needs %s: %v", address, err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Host != host {
					http.Error(w, "the host is "+r.Host, http.StatusBadRequest)
					return
				}
				fmt.Fprint(w, keyAuthorization(v))
			})}
			go func() { _ = server.Serve(listener) }()
			t.Cleanup(func() { _ = server.Close() })
			l.config.HTTP01Port = listener.Addr().(*net.TCPAddr).Port
			expectation{}.check(t, l.attempt(t, v))
		})
	}
}

func TestHTTP01OfADeniedAddress(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.HTTP01, "169.254.169.254")
	want := expectation{
		problem: acme.Connection, final: true,
		says: []string{"http-01 at http://169.254.169.254/", "validation.networks refuses 169.254.169.254 (169.254.0.0/16, link-local)"},
	}
	want.check(t, l.attempt(t, v))
}

func TestHTTP01PeersThatDoNotSpeakIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		serve func(conn net.Conn)
		want  expectation
	}{
		"silence ends with the deadline": {
			serve: func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<16)); hold(conn) },
			want:  expectation{problem: acme.Connection, says: []string{"timed out"}},
		},
		"a head that comes by drops ends with the deadline": {
			serve: func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 1<<16))
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-A: ")
				hold(conn)
			},
			want: expectation{problem: acme.Connection, says: []string{"timed out"}},
		},
		"a body that comes by drops ends with the deadline": {
			serve: func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 1<<16))
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 66\r\n\r\nabc")
				hold(conn)
			},
			want: expectation{problem: acme.Connection, says: []string{"status 200", "after 3 bytes of the body: timed out"}},
		},
		"another protocol": {
			serve: func(conn net.Conn) { fmt.Fprint(conn, "220 mail.example ESMTP\x07\r\n") },
			want:  expectation{problem: acme.Connection, says: []string{"malformed HTTP"}},
		},
		"a closed connection": {
			serve: func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<16)) },
			want:  expectation{problem: acme.Connection, says: []string{"connection was closed"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
			l.config.Timeout = 5 * time.Second
			l.config.HTTP01Port = serveRaw(t, test.serve)
			test.want.check(t, l.attempt(t, v))
		})
	}
}

// hold keeps a connection until the peer closes it.
func hold(conn net.Conn) {
	for {
		if _, err := conn.Read(make([]byte, 1<<10)); err != nil {
			return
		}
	}
}

// serveRaw accepts connections on 127.0.0.1 until the test ends, and returns the port.
func serveRaw(t *testing.T, serve func(net.Conn)) int {
	t.Helper()
	listener := listen(t, netip.AddrPortFrom(loopback4, 0))
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestHTTP01WhereNobodyListens(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
	listener := listen(t, netip.AddrPortFrom(loopback4, 0))
	l.config.HTTP01Port = listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	want := expectation{problem: acme.Connection, says: []string{
		"connecting to foo.example at 127.0.0.1:" + strconv.Itoa(l.config.HTTP01Port) + ": connection refused",
	}}
	want.check(t, l.attempt(t, v))
}

func TestHTTP01IgnoresProxiesOfTheEnvironment(t *testing.T) {
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	t.Cleanup(proxy.Close)
	for _, variable := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(variable, proxy.URL)
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	l, v := newLab(t), validationOf(t, acme.HTTP01, "foo.example")
	l.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != r.URL.Path { // a request to a proxy has the whole URL
			http.Error(w, r.RequestURI, http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, keyAuthorization(v))
	})
	expectation{}.check(t, l.attempt(t, v))
	if n := proxied.Load(); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}
