package acmetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// http01Path precedes the token in the path (RFC 8555 §8.3).
const http01Path = "/.well-known/acme-challenge/"

// HTTP01 is a web server that answers http-01 challenges (RFC 8555 §8.3) for any
// host. It is safe for concurrent use.
type HTTP01 struct {
	address  netip.AddrPort
	server   *http.Server
	mu       sync.Mutex
	answers  map[string]string // by token
	requests int
}

// StartHTTP01 returns a running responder on a free port of 127.0.0.1, which
// ends with the test.
func StartHTTP01(tb testing.TB) *HTTP01 {
	tb.Helper()
	h, err := ServeHTTP01("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = h.Close() })
	return h
}

// ServeHTTP01 returns a responder that runs at address (host:port; port 0 stands
// for a free one) until it is closed.
func ServeHTTP01(address string) (*HTTP01, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for http-01: %w", err)
	}
	h := &HTTP01{address: listener.Addr().(*net.TCPAddr).AddrPort(), answers: make(map[string]string)}
	h.server = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = h.server.Serve(listener) }() // ends by Close
	return h, nil
}

// Close ends the responder.
func (h *HTTP01) Close() error { return h.server.Close() }

// Port is where the responder listens.
func (h *HTTP01) Port() int { return int(h.address.Port()) }

// Address is the address and port where the responder listens.
func (h *HTTP01) Address() netip.AddrPort { return h.address }

// Set answers the challenge that has the token with the key authorization.
func (h *HTTP01) Set(token, keyAuthorization string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[token] = keyAuthorization
}

// Remove forgets the answer to a challenge.
func (h *HTTP01) Remove(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.answers, token)
}

// Requests returns how many requests came so far, of any kind.
func (h *HTTP01) Requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

// ServeHTTP answers a request with the key authorization of its token, or 404.
func (h *HTTP01) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.URL.Path, http01Path)
	h.mu.Lock()
	h.requests++
	answer, known := h.answers[token]
	h.mu.Unlock()
	if !known {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write([]byte(answer)) // who asked may have gone
}

// TLSALPN01 is a TLS server that answers tls-alpn-01 challenges (RFC 8737). It is
// safe for concurrent use.
type TLSALPN01 struct {
	address  netip.AddrPort
	listener net.Listener

	mu           sync.Mutex
	certificates map[string]*tls.Certificate // by server name
	handshakes   int
}

// StartTLSALPN01 returns a running responder on a free port of 127.0.0.1, which
// ends with the test.
func StartTLSALPN01(tb testing.TB) *TLSALPN01 {
	tb.Helper()
	s, err := ServeTLSALPN01("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// ServeTLSALPN01 returns a responder that runs at address (host:port; port 0
// stands for a free one) until it is closed.
func ServeTLSALPN01(address string) (*TLSALPN01, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for tls-alpn-01: %w", err)
	}
	s := &TLSALPN01{
		address: listener.Addr().(*net.TCPAddr).AddrPort(), listener: listener,
		certificates: make(map[string]*tls.Certificate),
	}
	go s.serve()
	return s, nil
}

// Close ends the responder.
func (s *TLSALPN01) Close() error { return s.listener.Close() }

// Port is where the responder listens.
func (s *TLSALPN01) Port() int { return int(s.address.Port()) }

// Address is the address and port where the responder listens.
func (s *TLSALPN01) Address() netip.AddrPort { return s.address }

// Set answers the challenge of an identifier with the key authorization. serverName
// is what the validator will send: the name, or that of the address's reverse
// mapping (RFC 8738 §6).
func (s *TLSALPN01) Set(serverName string, id acme.Identifier, keyAuthorization string) error {
	certificate, err := ChallengeCertificate(id, keyAuthorization)
	if err != nil {
		return err
	}
	s.SetCertificate(serverName, certificate)
	return nil
}

// SetCertificate shows a certificate, right or wrong, to whoever asks for the name.
func (s *TLSALPN01) SetCertificate(serverName string, certificate *tls.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.certificates[strings.ToLower(serverName)] = certificate
}

// Remove forgets the certificate for a name.
func (s *TLSALPN01) Remove(serverName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.certificates, strings.ToLower(serverName))
}

// Handshakes returns how many were begun so far.
func (s *TLSALPN01) Handshakes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handshakes
}

// serve shakes hands with whoever comes, until the listener is closed.
func (s *TLSALPN01) serve() {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"acme-tls/1"},
		GetCertificate: s.certificate,
	}
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			// What the peer thinks of the handshake, it says itself.
			_ = tls.Server(conn, config).Handshake()
			_, _ = conn.Read(make([]byte, 1)) // until the peer has read and closed
		}()
	}
}

// certificate returns what was set for the name that the peer asks for; nil ends
// the handshake with the alert unrecognized_name (RFC 6066 §3).
func (s *TLSALPN01) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handshakes++
	return s.certificates[strings.ToLower(hello.ServerName)], nil
}

// ChallengeCertificate returns a self-signed certificate that answers the
// tls-alpn-01 challenge of an identifier (RFC 8737 §3), with its key. The changes
// are made to it before it is signed, for those who need a wrong one.
func ChallengeCertificate(id acme.Identifier, keyAuthorization string, changes ...func(*x509.Certificate)) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of a challenge certificate: %w", err)
	}
	digest := sha256.Sum256([]byte(keyAuthorization))
	value, err := asn1.Marshal(digest[:])
	if err != nil {
		return nil, fmt.Errorf("extension of a challenge certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "ACME challenge"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value,
		}},
	}
	if addr, err := netip.ParseAddr(id.Value); err == nil && id.Type == acme.IP {
		template.IPAddresses = []net.IP{addr.AsSlice()}
	} else {
		template.DNSNames = []string{id.Value}
	}
	for _, change := range changes {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("challenge certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
