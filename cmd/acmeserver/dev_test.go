package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

func TestWhatCertificatesOfDevPointToIsServed(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	f := devFlags{listen: "127.0.0.1:0", mode: "trusted", http01Port: 80, tlsALPN01Port: 443}
	s, err := f.service(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	s.store, s.ready = acmetest.NewMemory(), func() error { close(ready); return nil }
	go func() { ended <- s.run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("it did not start: %v", err)
	}
	cert, issuer := certificateOf(t, s), s.keys.chain[0]
	if got, err := x509.ParseCertificate(fetch(t, cert.IssuingCertificateURL[0])); err != nil || !got.Equal(issuer) {
		t.Errorf("the issuing certificate: %v", err)
	}
	crl, err := x509.ParseRevocationList(fetch(t, cert.CRLDistributionPoints[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		t.Errorf("the CRL: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// certificateOf has a trusting service issue a certificate.
func certificateOf(t *testing.T, s *service) *x509.Certificate {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.keys.roots[0])
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := acmetest.Dial(t.Context(), &http.Client{Transport: transport}, s.config.URLs[0]+"/directory", acmetest.NewKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewAccount(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	order, err := c.NewOrder(t.Context(), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	if order, err = c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")); err != nil {
		t.Fatal(err)
	}
	resp, err := c.Post(t.Context(), order.Certificate, nil)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(resp.Body)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// fetch gets what is at a URL.
func fetch(t *testing.T, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", url, resp.StatusCode, err)
	}
	return body
}
