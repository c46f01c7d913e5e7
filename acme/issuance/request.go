package issuance

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// defaultMaxNames bounds the names of a request, as Let's Encrypt does.
	defaultMaxNames = 100
	// maxRequest bounds a request in octets. The largest honest one has a hundred
	// names of 253 octets and an RSA key of 8192 bits: 28 kB.
	maxRequest = 64 << 10
)

// The extensions of a request that are looked at. All others are ignored: what
// stands in a certificate is for its profile to say, and a client that asks for
// more finds out by reading what it got.
var (
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidTLSFeature       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24} // RFC 7633
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
)

// requestAlgorithms are the signatures that a request may have. SHA-1 is among
// what the standard library verifies in a request; here it is refused.
var requestAlgorithms = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
	x509.PureEd25519,
}

// CheckRequest parses a CSR in DER and checks all of it that can be without knowing
// the order: that whoever made it has the key, that the key is worth certifying, and
// that it asks for nothing that must not be granted. Whether it names the order's
// identifiers is for [Authority.Issue] to say, which so has less to do while others
// wait for the order. The error is a [acme.Problem] of type badCSR, which RFC 8555
// §6.7 has for weak keys too. It asks nothing of the key's owner: whether the key is
// an account's is for the store to say.
func (a *Authority) CheckRequest(der []byte) (*x509.CertificateRequest, error) {
	request, problem := parseRequest(der)
	if problem != nil {
		return nil, problem
	}
	// In this order: what costs little first, and nothing is computed with a key
	// before its size is known to be sane.
	for _, check := range []func() *acme.Problem{
		func() *acme.Problem { return checkKeySize(request.PublicKey) },
		func() *acme.Problem { return checkExtensions(request) },
		func() *acme.Problem { return checkSignature(request) },
		func() *acme.Problem { return a.checkKeyStrength(request.PublicKey) },
	} {
		if problem := check(); problem != nil {
			return nil, problem
		}
	}
	return request, nil
}

// parseRequest reads one PKCS #10 request and nothing behind it.
func parseRequest(der []byte) (*x509.CertificateRequest, *acme.Problem) {
	if len(der) > maxRequest {
		return nil, acme.Problemf(acme.BadCSR, "the request has %d octets; at most %d are read", len(der), maxRequest)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, acme.Problemf(acme.BadCSR, "the request is not a PKCS #10 certificate request in DER: %s", acme.Excerpt(err.Error()))
	}
	if request.Version != 0 {
		return nil, acme.Problemf(acme.BadCSR, "the request has version %d; RFC 2986 §4.1 knows 0 alone", request.Version)
	}
	return request, nil
}

// checkExtensions refuses what must not be granted and would be missed if it
// were silently left out.
func checkExtensions(request *x509.CertificateRequest) *acme.Problem {
	for _, e := range request.Extensions {
		switch {
		case e.Id.Equal(oidTLSFeature):
			// Must-staple: there is no OCSP responder here to staple from, and a
			// server with such a certificate would be refused by its clients.
			return acme.Problemf(acme.BadCSR, "the request asks for a TLS feature (must-staple), and this authority has no OCSP: ask without it")
		case e.Id.Equal(oidBasicConstraints):
			var constraints struct {
				IsCA       bool `asn1:"optional"`
				MaxPathLen int  `asn1:"optional,default:-1"`
			}
			if rest, err := asn1.Unmarshal(e.Value, &constraints); err != nil || len(rest) > 0 {
				return acme.Problemf(acme.BadCSR, "the basic constraints of the request cannot be read")
			}
			if constraints.IsCA {
				return acme.Problemf(acme.BadCSR, "the request asks for a CA certificate, which is not issued by ACME")
			}
		}
	}
	return nil
}

// checkSignature checks that whoever made the request has the private key.
func checkSignature(request *x509.CertificateRequest) *acme.Problem {
	if !slices.Contains(requestAlgorithms, request.SignatureAlgorithm) {
		return acme.Problemf(acme.BadCSR, "the request is signed by %s; sign it with SHA-256 or better", request.SignatureAlgorithm)
	}
	if err := request.CheckSignature(); err != nil {
		return acme.Problemf(acme.BadCSR, "the signature of the request is not by its key: %s", acme.Excerpt(err.Error()))
	}
	return nil
}
