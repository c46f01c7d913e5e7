package validation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// subjectAltName returns the extension with the names, each with its tag.
func subjectAltName(t *testing.T, names ...asn1.RawValue) pkix.Extension {
	t.Helper()
	for i := range names {
		names[i].Class = asn1.ClassContextSpecific
	}
	value, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
}

func TestTLSALPN01Certificates(t *testing.T) {
	t.Parallel()
	incorrect := func(says ...string) expectation {
		return expectation{problem: acme.IncorrectResponse, final: true, says: append(says, "tls-alpn-01 at foo.example (127.0.0.1:")}
	}
	for name, test := range map[string]struct {
		change func(c *x509.Certificate)
		want   expectation
	}{
		"that of RFC 8737 §3 proves control": {change: func(*x509.Certificate) {}},
		"the name may be in another case":    {change: func(c *x509.Certificate) { c.DNSNames = []string{"Foo.EXAMPLE"} }},
		"its times do not matter": {change: func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Unix(1, 0)
		}},
		"another name is refused": {
			change: func(c *x509.Certificate) { c.DNSNames = []string{"bar.example"} },
			want:   incorrect("must have foo.example and nothing else", `that of "bar.example"`),
		},
		"a second name is refused": {
			change: func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "bar.example") },
			want:   incorrect("must have foo.example and nothing else"),
		},
		"a name of a kind that is skipped in parsing is refused": {
			change: func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, subjectAltName(t,
					asn1.RawValue{Tag: 2, Bytes: []byte("foo.example")}, asn1.RawValue{Tag: 8, Bytes: []byte{0x2a, 0x03}}))
			},
			want: incorrect("must have foo.example and nothing else"),
		},
		"the name as that of a person is refused": {
			change: func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses = nil, []string{"foo.example"} },
			want:   incorrect("must have foo.example and nothing else"),
		},
		"no name is refused": {
			change: func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "foo\x00.example" },
			want:   incorrect("must have foo.example and nothing else", `foo\x00.example`),
		},
		"no acmeIdentifier is refused": {
			change: func(c *x509.Certificate) { c.ExtraExtensions = nil },
			want:   incorrect("has no acmeIdentifier extension"),
		},
		"an acmeIdentifier that is not critical is refused": {
			change: func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = false },
			want:   incorrect("is not critical"),
		},
		"another key authorization is refused": {
			change: func(c *x509.Certificate) { c.ExtraExtensions[0].Value[5] ^= 1 },
			want:   incorrect("the digest of the key authorization"),
		},
		"a digest with something after it is refused": {
			change: func(c *x509.Certificate) {
				c.ExtraExtensions[0].Value = append(c.ExtraExtensions[0].Value, make([]byte, 5000)...)
			},
			want: incorrect("the digest of the key authorization"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.TLSALPN01, "foo.example")
			responder := acmetest.StartTLSALPN01(t)
			certificate, err := acmetest.ChallengeCertificate(v.Identifier, keyAuthorization(v), test.change)
			if err != nil {
				t.Fatal(err)
			}
			responder.SetCertificate("foo.example", certificate)
			l.config.TLSALPN01Port = responder.Port()
			test.want.check(t, l.attempt(t, v))
		})
	}
}

func TestTLSALPN01OfACertificateThatAnotherSigned(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.TLSALPN01, "foo.example")
	right, err := acmetest.ChallengeCertificate(v.Identifier, keyAuthorization(v))
	if err != nil {
		t.Fatal(err)
	}
	template, err := x509.ParseCertificate(right.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	template.ExtraExtensions = template.Extensions
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, issuer := range map[string]string{"under another name": "Some CA", "under the same name": "ACME challenge"} {
		ca := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: issuer}}
		der, err := x509.CreateCertificate(rand.Reader, template, ca, template.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			responder := acmetest.StartTLSALPN01(t)
			responder.SetCertificate("foo.example", &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: right.PrivateKey})
			here, own := *l, *v
			here.config.TLSALPN01Port = responder.Port()
			want := expectation{problem: acme.IncorrectResponse, final: true, says: []string{"not self-signed", issuer}}
			want.check(t, here.attempt(t, &own))
		})
	}
}

func TestTLSALPN01OfAddresses(t *testing.T) {
	t.Parallel()
	for address, serverName := range map[string]string{
		"127.0.0.1": "1.0.0.127.in-addr.arpa",
		"::1":       "1." + strings.Repeat("0.", 31) + "ip6.arpa",
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.TLSALPN01, address)
			responder, err := acmetest.ServeTLSALPN01(net.JoinHostPort(address, "0"))
			if err != nil {
				t.Fatalf("this test needs %s: %v", address, err)
			}
			t.Cleanup(func() { _ = responder.Close() })
			l.config.TLSALPN01Port = responder.Port()
			if err := responder.Set(serverName, v.Identifier, keyAuthorization(v)); err != nil {
				t.Fatal(err)
			}
			expectation{}.check(t, l.attempt(t, v))

			// The same text as a name is not the address.
			name := acme.Identifier{Type: acme.DNS, Value: address}
			if err := responder.Set(serverName, name, keyAuthorization(v)); err != nil {
				t.Fatal(err)
			}
			want := expectation{problem: acme.IncorrectResponse, final: true, says: []string{"and nothing else"}}
			want.check(t, l.attempt(t, v))
		})
	}
}

func TestTLSALPN01PeersThatDoNotSpeakIt(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, test := range map[string]struct {
		port func(t *testing.T) int
		want expectation
	}{
		"a web server that knows other protocols": {
			port: func(t *testing.T) int {
				server := httptest.NewUnstartedServer(page)
				server.EnableHTTP2 = true
				server.Config.ErrorLog = log.New(io.Discard, "", 0)
				server.StartTLS()
				t.Cleanup(server.Close)
				return portOf(t, server.URL)
			},
			want: expectation{problem: acme.TLS, says: []string{"acme-tls/1", "no application protocol"}},
		},
		"a TLS server that knows no protocols": {
			port: func(t *testing.T) int {
				certificate, err := acmetest.ChallengeCertificate(acme.Identifier{Type: acme.DNS, Value: "foo.example"}, "x")
				if err != nil {
					t.Fatal(err)
				}
				return serveRaw(t, func(conn net.Conn) {
					_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*certificate}}).Handshake()
					hold(conn)
				})
			},
			want: expectation{problem: acme.TLS, says: []string{"did not agree on the protocol acme-tls/1"}},
		},
		"a TLS server of an old version": {
			port: func(t *testing.T) int {
				certificate, err := acmetest.ChallengeCertificate(acme.Identifier{Type: acme.DNS, Value: "foo.example"}, "x")
				if err != nil {
					t.Fatal(err)
				}
				return serveRaw(t, func(conn net.Conn) {
					_ = tls.Server(conn, &tls.Config{
						Certificates: []tls.Certificate{*certificate}, NextProtos: []string{"acme-tls/1"},
						MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
					}).Handshake()
				})
			},
			want: expectation{problem: acme.TLS, says: []string{"version"}},
		},
		"a web server without TLS": {
			port: func(t *testing.T) int {
				server := httptest.NewServer(page)
				t.Cleanup(server.Close)
				return portOf(t, server.URL)
			},
			want: expectation{problem: acme.TLS, says: []string{"does not look like a TLS handshake"}},
		},
		"a responder that was not told of the name": {
			port: func(t *testing.T) int { return acmetest.StartTLSALPN01(t).Port() },
			want: expectation{problem: acme.TLS, says: []string{"unrecognized name"}},
		},
		"silence": {
			port: func(t *testing.T) int { return serveRaw(t, hold) },
			want: expectation{problem: acme.Connection, says: []string{"TLS handshake: timed out"}},
		},
		"a closed connection": {
			port: func(t *testing.T) int {
				return serveRaw(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<16)) })
			},
			want: expectation{problem: acme.Connection, says: []string{"connection was closed"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.TLSALPN01, "foo.example")
			l.config.Timeout = 5 * time.Second
			l.config.TLSALPN01Port = test.port(t)
			test.want.check(t, l.attempt(t, v))
		})
	}
}

func TestTLSALPN01OfADeniedAddress(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.TLSALPN01, "bad.example")
	l.dns.SetA("bad.example", metadata)
	want := expectation{problem: acme.Connection, final: true, says: []string{"tls-alpn-01", "validation.networks refuses 169.254.169.254", "bad.example"}}
	want.check(t, l.attempt(t, v))
}
