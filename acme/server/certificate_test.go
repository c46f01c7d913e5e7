package server_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

func TestTheIssuerIsWhereCertificatesSay(t *testing.T) {
	t.Parallel()
	for name, authority := range map[string]*issuance.Authority{
		"an intermediate": acmetest.NewAuthority(t), "a root that issues by itself": rootAuthority(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startWith(t, authority)
			cert := issueFor(t, s.NewAccount(t), "a.example").cert
			point := must(url.Parse(cert.IssuingCertificateURL[0]))(t)
			w := httptest.NewRecorder()
			s.Handler.Distribution().ServeHTTP(w, httptest.NewRequest(http.MethodGet, point.Path, nil))
			issuer := must(x509.ParseCertificate(w.Body.Bytes()))(t)
			if err := cert.CheckSignatureFrom(issuer); err != nil {
				t.Error(err)
			}
		})
	}
}

// startWith serves with an authority.
func startWith(t *testing.T, authority *issuance.Authority) *acmetest.Server {
	t.Helper()
	memory := acmetest.NewMemory()
	if err := memory.RegisterIssuer(t.Context(), authority.Issuer()); err != nil {
		t.Fatal(err)
	}
	s := acmetest.StartServer(t, memory, server.Config{Issuer: authority})
	s.Authority = authority
	return s
}

// rootAuthority returns an authority that signs with a root.
func rootAuthority(t *testing.T) *issuance.Authority {
	t.Helper()
	root, key, err := issuance.NewRoot(issuance.RootConfig{CommonName: "test root", Lifetime: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{root}
	return must(issuance.New(issuance.Config{
		Chain: chain, Roots: chain, Signer: key, BaseURL: "http://ca.test",
		Profiles: []issuance.Profile{{Name: "default", Lifetime: time.Hour, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
	}))(t)
}

func TestARootIsNoPartOfTheChainThatIsDownloaded(t *testing.T) {
	t.Parallel()
	c := startWith(t, rootAuthority(t)).NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	order = must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")))(t)
	body := must(c.Post(t.Context(), order.Certificate, nil))(t).Body
	if block, rest := pem.Decode(body); block == nil || len(rest) != 0 {
		t.Errorf("chain is %q; want the certificate alone", body)
	}
}

func TestAnAlternateChainIsLinkedAndDownloaded(t *testing.T) {
	t.Parallel()
	profile := issuance.Profile{Name: "default", Lifetime: time.Hour, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	newRoot := func(name string) (*x509.Certificate, crypto.Signer) {
		root, key, err := issuance.NewRoot(issuance.RootConfig{CommonName: name, Lifetime: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return root, key
	}
	root, rootKey := newRoot("test root")
	other, otherKey := newRoot("another root")
	intermediate, key, err := issuance.NewIntermediate(root, rootKey, issuance.IntermediateConfig{CommonName: "test intermediate", Lifetime: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cross := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, intermediate, other, key.Public(), otherKey))(t)))(t)
	s := startWith(t, must(issuance.New(issuance.Config{
		Chain: []*x509.Certificate{intermediate}, Roots: []*x509.Certificate{root}, Signer: key,
		Alternates: []*x509.Certificate{cross, other}, Profiles: []issuance.Profile{profile},
	}))(t))
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	order = must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")))(t)
	for url, trusted := range map[string]*x509.Certificate{order.Certificate: root, order.Certificate + "/1": other} {
		resp := must(c.Post(t.Context(), url, nil))(t)
		links := resp.Header.Values("Link")
		for _, linked := range []string{order.Certificate, order.Certificate + "/1"} {
			if got := slices.Contains(links, "<"+linked+`>;rel="alternate"`); got != (linked != url) {
				t.Errorf("%s: links %q", url, links)
			}
		}
		leaf, rest := pem.Decode(resp.Body)
		between, rest := pem.Decode(rest)
		if leaf == nil || between == nil || len(rest) != 0 {
			t.Fatalf("%s: chain is %q", url, resp.Body)
		}
		if err := must(x509.ParseCertificate(between.Bytes))(t).CheckSignatureFrom(trusted); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if err := must(x509.ParseCertificate(leaf.Bytes))(t).CheckSignatureFrom(must(x509.ParseCertificate(between.Bytes))(t)); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	if resp := must(c.Post(t.Context(), order.Certificate+"/2", nil))(t); resp.Status != http.StatusNotFound {
		t.Errorf("a chain that there is not: status %d", resp.Status)
	}
}
