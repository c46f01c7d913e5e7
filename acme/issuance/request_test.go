package issuance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// newRequest returns a request for the identifiers in DER.
func newRequest(t testing.TB, key crypto.Signer, identifiers []acme.Identifier) []byte {
	t.Helper()
	template := &x509.CertificateRequest{}
	for _, id := range identifiers {
		if id.Type == acme.IP {
			template.IPAddresses = append(template.IPAddresses, net.IP(netip.MustParseAddr(id.Value).AsSlice()))
		} else {
			template.DNSNames = append(template.DNSNames, id.Value)
		}
	}
	return signRequest(t, key, template)
}

func signRequest(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// checkRequest takes a request as finalize does: by itself, and then for an order.
func checkRequest(a *Authority, der []byte, identifiers []acme.Identifier) (*x509.CertificateRequest, error) {
	request, err := a.CheckRequest(der)
	if err != nil {
		return nil, err
	}
	if problem := a.checkNames(request, identifiers); problem != nil {
		return nil, problem
	}
	return request, nil
}

// wantProblem checks the type and the text of a problem.
func wantProblem(t *testing.T, err error, typ acme.ProblemType, detail string) *acme.Problem {
	t.Helper()
	var p *acme.Problem
	if !errors.As(err, &p) || p.Type != typ || !strings.Contains(p.Detail, detail) {
		t.Fatalf("got %v, want %s: %s", err, typ, detail)
	}
	return p
}

// altNames returns an extension with general names as they are given in DER.
func altNames(names ...asn1.RawValue) pkix.Extension {
	value, err := asn1.Marshal(names)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: value}
}

func generalName(tag int, value string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
}

func TestARequestThatNamesTheOrdersIdentifiersIsTaken(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for name, test := range map[string]struct {
		request *x509.CertificateRequest
		names   []string
	}{
		"in another order and case, some twice": {
			&x509.CertificateRequest{DNSNames: []string{"b.example", "A.Example", "b.EXAMPLE"}}, []string{"a.example", "b.example"},
		},
		"in the common name too": {
			&x509.CertificateRequest{Subject: pkix.Name{CommonName: "A.example"}, DNSNames: []string{"a.example"}}, []string{"a.example"},
		},
		"in the common name alone": {
			&x509.CertificateRequest{Subject: pkix.Name{CommonName: "a.example"}}, []string{"a.example"},
		},
		"partly in the common name": {
			&x509.CertificateRequest{Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"b.example"}}, []string{"a.example", "b.example"},
		},
		"with a subject that is of no account": {
			&x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"Evil"}}, DNSNames: []string{"a.example"}}, []string{"a.example"},
		},
		"addresses and a wildcard": {
			&x509.CertificateRequest{DNSNames: []string{"*.a.example"}, IPAddresses: []net.IP{net.ParseIP("10.1.2.3").To4(), net.ParseIP("fd00::1")}},
			[]string{"*.a.example", "10.1.2.3", "fd00::1"},
		},
		"with CA:FALSE": {
			&x509.CertificateRequest{DNSNames: []string{"a.example"}, ExtraExtensions: []pkix.Extension{{Id: oidBasicConstraints, Value: []byte{0x30, 0}}}}, []string{"a.example"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := fixedKey(t, "leaf")
			request, err := checkRequest(a, signRequest(t, key, test.request), order(test.names...).Identifiers)
			if err != nil {
				t.Fatal(err)
			}
			if !key.PublicKey.Equal(request.PublicKey) {
				t.Error("the request has another key")
			}
		})
	}
}

func TestARequestThatIsNotTheOrdersIsRefused(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	key := fixedKey(t, "leaf")
	good := newRequest(t, key, order("a.example").Identifiers)
	sign := func(template x509.CertificateRequest) []byte { return signRequest(t, key, &template) }
	extended := func(e ...pkix.Extension) []byte { return sign(x509.CertificateRequest{ExtraExtensions: e}) }
	uri := &url.URL{Scheme: "spiffe", Host: "a.example", Path: "/x"}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("n%d.example", i)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	names := order("a.example").Identifiers
	for name, test := range map[string]struct {
		der  []byte
		want string
	}{
		"nothing":                    {nil, "not a PKCS #10 certificate request"},
		"something else":             {a.issuer.Raw, "not a PKCS #10 certificate request"},
		"data behind it":             {append(bytes.Clone(good), 0), "not a PKCS #10 certificate request"},
		"too much":                   {make([]byte, maxRequest+1), "has 65537 octets"},
		"another version":            {bytes.Replace(good, []byte{2, 1, 0}, []byte{2, 1, 1}, 1), "has version 1"},
		"a signature by another key": {swapSignature(t, good, newRequest(t, fixedKey(t, "other"), names)), "not by its key"},
		"a signature with SHA-1":     {swapAlgorithm(good, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}), "signed by ECDSA-SHA1; sign it with SHA-256"},
		"a signature of no kind":     {swapAlgorithm(good, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 9}), "signed by 0; sign it with"},
		"a point off its curve":      {offCurve(t, good, key), "not a PKCS #10 certificate request"},
		"a key on P-224":             {newRequest(t, p224, names), "on the curve P-224; P-256"},
		"an RSA key of 1024 bits":    {newRequest(t, small, names), "has 1024 bits; 2048 to 8192"},
		"no names":                   {sign(x509.CertificateRequest{}), "has no names"},
		"another name":               {sign(x509.CertificateRequest{DNSNames: []string{"a.example", "b.example"}}), `"b.example" is named by the request and not by the order`},
		"another common name":        {sign(x509.CertificateRequest{Subject: pkix.Name{CommonName: "web"}, DNSNames: []string{"a.example"}}), `"web" is named by the request and not`},
		"two common names": {sign(x509.CertificateRequest{DNSNames: []string{"a.example"}, Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: oidCommonName, Value: "b.example"}, {Type: oidCommonName, Value: "a.example"},
		}}}), `"b.example" is named by the request and not`},
		"a wildcard in place of a name": {sign(x509.CertificateRequest{DNSNames: []string{"*.example", "a.example"}}), `"*.example" is named by the request and not`},
		"an address as a name":          {sign(x509.CertificateRequest{DNSNames: []string{"a.example", "10.1.2.3"}}), "is no identifier"},
		"a name with a NUL":             {extended(altNames(generalName(2, "a.example\x00.evil.example"))), "2 differ"},
		"an empty name":                 {extended(altNames(generalName(2, "a.example"), generalName(2, ""))), "is no identifier"},
		"an address of five octets":     {extended(altNames(generalName(7, "12345"))), "not a PKCS #10"},
		"an e-mail address":             {sign(x509.CertificateRequest{DNSNames: []string{"a.example"}, EmailAddresses: []string{"a@a.example"}}), "of type rfc822Name"},
		"a URI":                         {sign(x509.CertificateRequest{DNSNames: []string{"a.example"}, URIs: []*url.URL{uri}}), "of type uniformResourceIdentifier"},
		"an otherName":                  {extended(altNames(generalName(2, "a.example"), generalName(0, "upn"))), "of type otherName"},
		"a directoryName":               {extended(altNames(generalName(4, "dn"))), "of type directoryName"},
		"data behind its names":         {extended(pkix.Extension{Id: oidSubjectAltName, Value: append(altNames(generalName(2, "a.example")).Value, 5, 0)}), "cannot be read"},
		"a hundred and one names":       {sign(x509.CertificateRequest{DNSNames: many}), "more than 100 subject alternative names"},
		"CA:TRUE": {sign(x509.CertificateRequest{DNSNames: []string{"a.example"}, ExtraExtensions: []pkix.Extension{
			{Id: oidBasicConstraints, Value: []byte{0x30, 3, 1, 1, 0xff}},
		}}), "asks for a CA certificate"},
		"basic constraints that are noise": {sign(x509.CertificateRequest{DNSNames: []string{"a.example"}, ExtraExtensions: []pkix.Extension{
			{Id: oidBasicConstraints, Value: []byte{1}},
		}}), "cannot be read"},
		"must-staple": {sign(x509.CertificateRequest{DNSNames: []string{"a.example"}, ExtraExtensions: []pkix.Extension{
			{Id: oidTLSFeature, Value: []byte{0x30, 3, 2, 1, 5}},
		}}), "must-staple"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := checkRequest(a, test.der, names)
			_ = wantProblem(t, err, acme.BadCSR, test.want)
		})
	}
}

// outer is a request as it is signed.
type outer struct {
	TBS       asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

func decodeOuter(der []byte) outer {
	var o outer
	if _, err := asn1.Unmarshal(der, &o); err != nil {
		panic(err)
	}
	return o
}

func encodeOuter(o outer) []byte {
	der, err := asn1.Marshal(o)
	if err != nil {
		panic(err)
	}
	return der
}

func swapSignature(t *testing.T, der, other []byte) []byte {
	t.Helper()
	o := decodeOuter(der)
	o.Signature = decodeOuter(other).Signature
	return encodeOuter(o)
}

func swapAlgorithm(der []byte, algorithm asn1.ObjectIdentifier) []byte {
	o := decodeOuter(der)
	o.Algorithm.Algorithm = algorithm
	return encodeOuter(o)
}

// offCurve changes the last octet of the key's point in a request.
func offCurve(t *testing.T, der []byte, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(point)
	wrong[len(wrong)-1] ^= 1
	return bytes.Replace(der, point, wrong, 1)
}

func TestEveryNameThatDiffersIsASubproblem(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	der := signRequest(t, fixedKey(t, "leaf"), &x509.CertificateRequest{DNSNames: []string{"a.example", "c.example"}})
	_, err := checkRequest(a, der, order("a.example", "b.example").Identifiers)
	p := wantProblem(t, err, acme.BadCSR, "2 differ")
	var got []string
	for _, s := range p.Subproblems {
		got = append(got, s.Identifier.Value+" "+s.Detail)
	}
	want := []string{
		`c.example "c.example" is named by the request and not by the order`,
		`b.example "b.example" is named by the order and not by the request`,
	}
	if diff := cmp.Diff(want, got); diff != "" || p.Identifier != nil {
		t.Errorf("subproblems (-want +got):\n%s", diff)
	}
}

func TestTheAuthoritysOwnKeyIsNotCertified(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	names := order("a.example").Identifiers
	_, err := checkRequest(a, newRequest(t, a.signer, names), names)
	_ = wantProblem(t, err, acme.BadCSR, "the authority's own")
}

func BenchmarkCheckRequest(b *testing.B) {
	a := newAuthority(b)
	o := order("a.example", "b.example")
	rsaKey, err := GenerateKey(RSA2048)
	if err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-256": fixedKey(b, "leaf"), "RSA-2048": rsaKey} {
		b.Run(name, func(b *testing.B) {
			der := newRequest(b, key, o.Identifiers)
			for b.Loop() {
				if _, err := checkRequest(a, der, o.Identifiers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
