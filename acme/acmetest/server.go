package acmetest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/nonce"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// Server is an ACME server in the test's process, with an authority of its own.
type Server struct {
	*httptest.Server
	Authority *issuance.Authority
	// Handler is what is served; several Servers may stand for replicas.
	Handler *server.Server
}

// NewAuthority makes a root, an intermediate and an authority that signs with it. A
// second root has signed the intermediate, too: there is an alternate chain.
func NewAuthority(t testing.TB) *issuance.Authority {
	t.Helper()
	root, rootKey, err := issuance.NewRoot(issuance.RootConfig{CommonName: "test root", Lifetime: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	intermediate, key, err := issuance.NewIntermediate(root, rootKey, issuance.IntermediateConfig{CommonName: "test intermediate", Lifetime: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	second, secondKey, err := issuance.NewRoot(issuance.RootConfig{CommonName: "second test root", Lifetime: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	bySecond, _, err := issuance.NewIntermediate(second, secondKey, issuance.IntermediateConfig{CommonName: "test intermediate", Key: key, Lifetime: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	a, err := issuance.New(issuance.Config{
		Chain: []*x509.Certificate{intermediate}, Roots: []*x509.Certificate{root}, Alternates: []*x509.Certificate{bySecond}, Signer: key,
		Profiles: []issuance.Profile{
			{Name: "default", Description: "for tests", Lifetime: time.Hour, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
			{Name: "short", Description: "for a minute", Lifetime: 10 * time.Minute, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		},
		BaseURL: "http://ca.test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// StartServer serves a store over TLS on loopback until the test ends. What c
// leaves out gets what a server on its own needs: an authority, nonces, the
// listener's URL, and trust in every account where there is no validator.
func StartServer(t testing.TB, store Store, c server.Config) *Server {
	t.Helper()
	return StartServerAt(t, Listen(t), store, c)
}

// Listen returns a listener on a free port of 127.0.0.1, for a server whose URL
// something must know before it runs.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// StartServerAt is [StartServer] with a listener, which ends with the test.
func StartServerAt(t testing.TB, l net.Listener, store Store, c server.Config) *Server {
	t.Helper()
	s := &Server{Server: &httptest.Server{Listener: l, Config: &http.Server{ReadHeaderTimeout: time.Minute}}}
	c.Store = store
	if c.Issuer == nil {
		s.Authority = NewAuthority(t)
		c.Issuer = s.Authority
		if err := store.RegisterIssuer(t.Context(), s.Authority.Issuer()); err != nil {
			t.Fatal(err)
		}
	}
	if c.Nonces == nil {
		sealer, err := nonce.New(t.Context(), nonce.Config{Keys: store})
		if err != nil {
			t.Fatal(err)
		}
		c.Nonces = sealer
	}
	if len(c.URLs) == 0 {
		c.URLs = []string{"https://" + s.Listener.Addr().String()}
	}
	c.Trusted = c.Validator == nil
	handler, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = handler
	s.Config.Handler = handler
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// DirectoryURL is where clients begin.
func (s *Server) DirectoryURL() string { return s.URL + "/directory" }

// NewClient returns a client of the server with a new key, and no account.
func (s *Server) NewClient(t testing.TB) *Client {
	t.Helper()
	c, err := Dial(t.Context(), s.Client(), s.DirectoryURL(), NewKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// NewAccount returns a client of the server with a new account.
func (s *Server) NewAccount(t testing.TB) *Client {
	t.Helper()
	c := s.NewClient(t)
	if _, err := c.NewAccount(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return c
}
