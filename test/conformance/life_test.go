package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// livesItsLife is all that a client does with a certificate, one after the other:
// it registers, gets one, renews it, and revokes what it has got then; which whoever
// verifies it learns from the CRL that it names.
func livesItsLife(ctx context.Context, t *testing.T, l *lab, c client) {
	o := order{names: []string{"www.conformance.example"}, by: acme.HTTP01}
	register(ctx, t, c, nil)
	files := obtain(ctx, t, l, c, o)
	first := files.leaf(t)
	files = renew(ctx, t, l, c, files, o)
	pair, err := tls.LoadX509KeyPair(files.chain, files.key) // before clients put it away
	if err != nil {
		t.Fatal(err)
	}
	if pair.Leaf.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Errorf("the certificate is still that with the serial number %x", first.SerialNumber)
	}
	if l.lists(ctx, t, pair) {
		t.Error("the certificate is on the CRL before it was revoked")
	}
	if err := c.revoke(ctx, files); err != nil {
		t.Fatalf("revoking: %v", err)
	}
	l.mustBeRevoked(ctx, t, pair)
	if err := poll(ctx, func() error {
		if !l.lists(ctx, t, pair) {
			return fmt.Errorf("the CRL does not list the certificate with the serial number %x", pair.Leaf.SerialNumber)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if first.CRLDistributionPoints[0] != pair.Leaf.CRLDistributionPoints[0] {
		t.Errorf("the certificates of an issuer name the CRLs %q and %q", first.CRLDistributionPoints, pair.Leaf.CRLDistributionPoints)
	}
	pair.Leaf = first
	if l.lists(ctx, t, pair) {
		t.Error("the certificate that was only renewed is on the CRL")
	}
}

// lists reports whether a certificate is on the CRL that it names, which must be of
// its issuer, and current.
func (l *lab) lists(ctx context.Context, t *testing.T, pair tls.Certificate) bool {
	t.Helper()
	points := pair.Leaf.CRLDistributionPoints
	if len(points) != 1 {
		t.Fatalf("the certificate names the CRLs %q, and should name one", points)
	}
	crl, err := x509.ParseRevocationList(l.fetch(ctx, t, points[0]))
	if err != nil {
		t.Fatalf("%s: %v", points[0], err)
	}
	issuer, err := x509.ParseCertificate(pair.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		t.Errorf("the CRL is not of the certificate's issuer: %v", err)
	}
	if now := time.Now(); crl.ThisUpdate.After(now) || crl.NextUpdate.Before(now) {
		t.Errorf("the CRL is for the time from %s to %s", crl.ThisUpdate, crl.NextUpdate)
	}
	for _, entry := range crl.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(pair.Leaf.SerialNumber) == 0 {
			return true
		}
	}
	return false
}

// fetch gets what a certificate points to, from the server's listener for plain
// HTTP: in a cluster, a Service has it at port 80.
func (l *lab) fetch(ctx context.Context, t *testing.T, target string) []byte {
	t.Helper()
	if u, err := url.Parse(target); err != nil || u.Scheme != "http" || u.Port() != "" {
		t.Fatalf("%q is no URL of plain HTTP at its port (RFC 5280 §8)", target)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, l.server.http)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s: %v", target, response.Status, err)
	}
	return body
}
