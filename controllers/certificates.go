package controllers

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// clockSkew is how far a certificate begins before it was made: not every clock
// in a cluster is right.
const clockSkew = 5 * time.Minute

// authority is a certificate with its key and what it is verified against.
type authority struct {
	// chain begins with the certificate that signs.
	chain []*x509.Certificate
	key   crypto.Signer
	roots []*x509.Certificate
	// pair is the same in PEM.
	pair render.KeyPair
}

// certificate is the certificate that signs.
func (a *authority) certificate() *x509.Certificate { return a.chain[0] }

// fingerprint is the SHA-256 of the certificate that signs, in hexadecimal.
func (a *authority) fingerprint() string {
	sum := sha256.Sum256(a.certificate().Raw)
	return hex.EncodeToString(sum[:])
}

// notAfter is when the first certificate of the chain, or its only root, expires.
func (a *authority) notAfter() time.Time {
	end := a.chain[0].NotAfter
	for _, c := range a.chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	if len(a.roots) == 1 && a.roots[0].NotAfter.Before(end) {
		end = a.roots[0].NotAfter
	}
	return end
}

// renewAt is when two thirds of a certificate's life have passed, in whole
// seconds, as the status has it.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3).Truncate(time.Second)
}

// newKey makes a key.
func newKey(algorithm v1alpha1.KeyAlgorithm) (crypto.Signer, error) {
	switch algorithm {
	case v1alpha1.ECDSAP256, "":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case v1alpha1.ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case v1alpha1.RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case v1alpha1.RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("key algorithm %q is not known", algorithm)
	}
}

// newRoot makes a root for an AcmeServer, with a new key.
func newRoot(name pkix.Name, algorithm v1alpha1.KeyAlgorithm, lifetime time.Duration, now time.Time) (*authority, error) {
	key, err := newKey(algorithm)
	if err != nil {
		return nil, err
	}
	template := authorityTemplate(name, now, now.Add(lifetime))
	template.MaxPathLen = 1
	return sign(template, key, nil)
}

// newIntermediate makes a certificate for a key, which signs end-entity
// certificates only and does not outlive the root.
func newIntermediate(root *authority, name pkix.Name, key crypto.Signer, lifetime time.Duration, now time.Time) (*authority, error) {
	end := now.Add(lifetime)
	if end.After(root.certificate().NotAfter) {
		end = root.certificate().NotAfter
	}
	template := authorityTemplate(name, now, end)
	template.MaxPathLenZero = true
	return sign(template, key, root)
}

// authorityTemplate returns the template of a certificate that signs others.
func authorityTemplate(name pkix.Name, now, end time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: name, NotBefore: now.Add(-clockSkew), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// newDatabaseCertificate makes the certificate of an embedded database, with an
// authority of its own whose key is forgotten: it will never sign another.
func newDatabaseCertificate(hosts []string, lifetime time.Duration, now time.Time) (render.KeyPair, error) {
	root, err := newRoot(pkix.Name{CommonName: hosts[0] + " Root CA"}, v1alpha1.ECDSAP256, lifetime, now)
	if err != nil {
		return render.KeyPair{}, err
	}
	key, err := newKey(v1alpha1.ECDSAP256)
	if err != nil {
		return render.KeyPair{}, err
	}
	server, err := sign(&x509.Certificate{
		DNSNames: hosts, NotBefore: now.Add(-clockSkew), NotAfter: root.certificate().NotAfter,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key, root)
	if err != nil {
		return render.KeyPair{}, err
	}
	return server.pair, nil
}

// sign makes a certificate by a template for a key; without an issuer it signs itself.
func sign(template *x509.Certificate, key crypto.Signer, issuer *authority) (*authority, error) {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails (crypto/rand)
	serial[0] = serial[0]&0x7f | 0x40
	template.SerialNumber = new(big.Int).SetBytes(serial)
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.certificate(), issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate %q: %w", template.Subject, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate %q: %w", template.Subject, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing the key of %q: %w", template.Subject, err)
	}
	a := &authority{chain: []*x509.Certificate{certificate}, key: key, roots: []*x509.Certificate{certificate}}
	if issuer != nil {
		a.roots = issuer.roots
	}
	a.pair = render.KeyPair{
		Certificate: encode(a.chain), Roots: encode(a.roots),
		Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
	return a, nil
}

// encode returns certificates in PEM.
func encode(certificates []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certificates {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes all
	}
	return out.Bytes()
}

// parseAuthority reads an authority from PEM and checks that it can sign. The
// error says what is wrong with which key of a Secret, and nothing of a private key.
func parseAuthority(pair render.KeyPair) (*authority, error) {
	chain, err := parseCertificates(pair.Certificate)
	if err != nil {
		return nil, fmt.Errorf("tls.crt: %w", err)
	}
	roots, err := parseCertificates(pair.Roots)
	if err != nil {
		return nil, fmt.Errorf("ca.crt: %w", err)
	}
	key, err := parseKey(pair.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.key: %w", err)
	}
	issuer := chain[0]
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(issuer.PublicKey):
		return nil, errors.New("tls.key is not the key of the first certificate of tls.crt")
	case !issuer.IsCA || !issuer.BasicConstraintsValid:
		return nil, errors.New("tls.crt: the first certificate must not sign others (it has no basic constraint CA:TRUE)")
	case issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, errors.New("tls.crt: the first certificate must not sign others (its key usage lacks keyCertSign)")
	}
	a := &authority{chain: chain, key: key, roots: roots, pair: pair}
	return a, a.verify()
}

// verify checks that the chain leads to one of the roots. Whether it has expired
// is another question.
func (a *authority) verify() error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range a.roots {
		roots.AddCert(c)
	}
	for _, c := range a.chain[1:] {
		between.AddCert(c)
	}
	_, err := a.certificate().Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime: a.certificate().NotBefore.Add(clockSkew),
	})
	if err != nil {
		return fmt.Errorf("tls.crt does not lead to a certificate of ca.crt: %w", err)
	}
	return nil
}

// parseCertificates reads one or more certificates in PEM.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("has no certificate in PEM")
	}
	return all, nil
}

// parseKey reads a private key in PEM: PKCS #8, PKCS #1 or SEC 1.
func parseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("has no private key in PEM that is not encrypted")
}
