package conformance

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
)

// verify is verifyWith the root of those who ask for no other chain.
func (s *acmeServer) verify(t *testing.T, files pemFiles, names []string) {
	t.Helper()
	verifyWith(t, s.roots, files, names)
}

// verifyWith fails the test unless the files are those of a certificate that a TLS
// server can use as they are: the key is the certificate's, the chain leads to the
// root and does not have it, the names are those that were asked for and no others.
func verifyWith(t *testing.T, roots *x509.CertPool, files pemFiles, names []string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.chain, files.key) // compares the keys
	if err != nil {
		t.Fatalf("the client's files: %v", err)
	}
	data, err := os.ReadFile(files.chain)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := issuance.ParseCertificates(data)
	if err != nil {
		t.Fatalf("%s: %v", files.chain, err)
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
		if c.CheckSignatureFrom(c) == nil {
			t.Errorf("the chain has a root (RFC 8555 §9.1): %s", c.Subject)
		}
	}
	if len(chain) < 2 {
		t.Errorf("the chain has %d certificates, and should have the intermediate", len(chain))
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: usages}); err != nil {
		t.Errorf("with the root: %v", err)
	}
	if diff := cmp.Diff(sorted(names), namesOf(pair.Leaf)); diff != "" {
		t.Errorf("names of the certificate (- asked for, + found):\n%s", diff)
	}
}

// leaf reads the certificate.
func (f pemFiles) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.chain, f.key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// put copies the files to a directory.
func (f pemFiles) put(t *testing.T, dir string) pemFiles {
	t.Helper()
	chain, err := os.ReadFile(f.chain)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, dir, chain, key)
}

// namesOf returns the subject alternative names of a certificate, sorted.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return sorted(names)
}

// sorted returns a sorted copy.
func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

// serve runs a web server until the test ends.
func serve(t *testing.T, s *http.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(listener) }() // ends by Close
	t.Cleanup(func() { _ = s.Close() })
}
