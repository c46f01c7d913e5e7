package issuance

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// FuzzCheckRequest: a request is refused as badCSR, or gives a certificate with
// its key and the names of the order, and of the order alone.
func FuzzCheckRequest(f *testing.F) {
	a := newAuthority(f)
	o := order("a.example", "10.1.2.3")
	f.Add(newRequest(f, fixedKey(f, "leaf"), o.Identifiers))
	f.Add(signRequest(f, fixedKey(f, "leaf"), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a.example"}}))
	f.Fuzz(func(t *testing.T, der []byte) { checkFuzzedRequest(t, a, o, der) })
}

// FuzzRequestNames is FuzzCheckRequest behind the signature, which a changed
// request never has: the names are changed, and then signed. The general names are
// DER as they stand in the extension.
func FuzzRequestNames(f *testing.F) {
	a := newAuthority(f)
	o := order("a.example", "*.b.example", "10.1.2.3")
	key := fixedKey(f, "leaf")
	f.Fuzz(func(t *testing.T, commonName string, generalNames []byte) {
		template := &x509.CertificateRequest{
			Subject:         pkix.Name{CommonName: commonName},
			ExtraExtensions: []pkix.Extension{{Id: oidSubjectAltName, Value: generalNames}},
		}
		der, err := x509.CreateCertificateRequest(nil, template, key)
		if err != nil { // no string of ASN.1 has such a common name
			return
		}
		checkFuzzedRequest(t, a, o, der)
	})
}

// checkFuzzedRequest takes a request through the authority. What the request and
// the certificate say is read by the standard library, and not by what is tested.
func checkFuzzedRequest(t *testing.T, a *Authority, o *acme.Order, der []byte) {
	t.Helper()
	request, err := checkRequest(a, der, o.Identifiers)
	if err != nil {
		_ = wantProblem(t, err, acme.BadCSR, "")
		return
	}
	if len(request.EmailAddresses)+len(request.URIs) > 0 {
		t.Errorf("a request for %v and %v was taken", request.EmailAddresses, request.URIs)
	}
	asked := &x509.Certificate{DNSNames: request.DNSNames, IPAddresses: request.IPAddresses}
	for _, cn := range commonNames(request) {
		if cn.Type == acme.DNS {
			asked.DNSNames = append(asked.DNSNames, cn.Value)
		} else {
			asked.IPAddresses = append(asked.IPAddresses, netip.MustParseAddr(cn.Value).AsSlice())
		}
	}
	if diff := cmp.Diff(o.Identifiers, identifiersOf(t, asked)); diff != "" {
		t.Errorf("a request for other names was taken (- order, + request):\n%s", diff)
	}
	issued, err := a.Issue(t.Context(), o, request)
	if err != nil {
		t.Fatalf("a request that was taken gave no certificate: %v", err)
	}
	checkIssued(t, issued, o, request.PublicKey)
}

// checkIssued checks that a certificate has the names of an order, and a key.
func checkIssued(t *testing.T, issued *acme.Certificate, o *acme.Order, key crypto.PublicKey) {
	t.Helper()
	c, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o.Identifiers, identifiersOf(t, c)); diff != "" {
		t.Errorf("names of the certificate (- order, + certificate):\n%s", diff)
	}
	want, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.RawSubjectPublicKeyInfo, want) {
		t.Error("the certificate has another key")
	}
	if c.IsCA || c.Subject.CommonName != "" || len(c.UnhandledCriticalExtensions) > 0 {
		t.Errorf("the certificate is more than its profile says: %+v", c)
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(oidTLSFeature) {
			t.Error("the certificate has a TLS feature")
		}
	}
}

// identifiersOf returns the alternative names of a certificate as an order has them.
func identifiersOf(t *testing.T, c *x509.Certificate) []acme.Identifier {
	t.Helper()
	var ids []acme.Identifier
	for _, name := range c.DNSNames {
		id, err := acme.ParseIdentifier("dns", name)
		if err != nil {
			t.Error(err)
		}
		ids = append(ids, id)
	}
	for _, ip := range c.IPAddresses {
		id, err := acme.ParseIdentifier("ip", ip.String())
		if err != nil {
			t.Error(err)
		}
		ids = append(ids, id)
	}
	return acme.SortIdentifiers(ids)
}
