package controllers

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
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
	end := issuance.EndOf(a.chain)
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

// newRoot makes a root for an AcmeServer, with a new key.
func newRoot(name pkix.Name, algorithm v1alpha1.KeyAlgorithm, lifetime time.Duration, now time.Time) (*authority, error) {
	c := authorityConfig(name, lifetime, now)
	c.KeyAlgorithm = issuance.KeyAlgorithm(algorithm)
	root, key, err := issuance.NewRoot(c)
	if err != nil {
		return nil, err
	}
	return newAuthority(root, key, []*x509.Certificate{root})
}

// newIntermediate makes a certificate for a key, which signs end-entity
// certificates only and does not outlive the root.
func newIntermediate(root *authority, name pkix.Name, key crypto.Signer, lifetime time.Duration, now time.Time) (*authority, error) {
	c := authorityConfig(name, lifetime, now)
	c.Key = key
	intermediate, _, err := issuance.NewIntermediate(root.certificate(), root.key, issuance.IntermediateConfig(c))
	if err != nil {
		return nil, err
	}
	return newAuthority(intermediate, key, root.roots)
}

// authorityConfig describes a certificate that signs others.
func authorityConfig(name pkix.Name, lifetime time.Duration, now time.Time) issuance.RootConfig {
	c := issuance.RootConfig{CommonName: name.CommonName, Lifetime: lifetime, Clock: func() time.Time { return now }}
	if len(name.Organization) > 0 {
		c.Organization = name.Organization[0]
	}
	return c
}

// newAuthority returns an authority that was made, with its PEM.
func newAuthority(certificate *x509.Certificate, key crypto.Signer, roots []*x509.Certificate) (*authority, error) {
	pem, err := issuance.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return &authority{
		chain: []*x509.Certificate{certificate}, key: key, roots: roots,
		pair: render.KeyPair{
			Certificate: issuance.EncodeCertificates(certificate), Roots: issuance.EncodeCertificates(roots...), Key: pem,
		},
	}, nil
}

// newDatabaseCertificate makes the certificate of an embedded database, with an
// authority of its own whose key is forgotten: it will never sign another.
func newDatabaseCertificate(hosts []string, lifetime time.Duration, now time.Time) (render.KeyPair, error) {
	root, err := newRoot(pkix.Name{CommonName: "Embedded database Root CA"}, v1alpha1.ECDSAP256, lifetime, now)
	if err != nil {
		return render.KeyPair{}, err
	}
	signer, err := issuance.New(issuance.Config{
		Chain: root.chain, Roots: root.roots, Signer: root.key, Clock: func() time.Time { return now },
		Profiles: []issuance.Profile{{Name: "database", Lifetime: lifetime, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
	})
	if err != nil {
		return render.KeyPair{}, err
	}
	made, err := issuance.NewServerCertificate(issuance.ServerCertificateConfig{Authority: signer, Hosts: hosts, Lifetime: lifetime})
	if err != nil {
		return render.KeyPair{}, err
	}
	certificate, err := made.GetCertificate(nil)
	if err != nil {
		return render.KeyPair{}, err
	}
	key, ok := certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return render.KeyPair{}, fmt.Errorf("a %T cannot sign", certificate.PrivateKey)
	}
	server, err := newAuthority(certificate.Leaf, key, root.roots)
	if err != nil {
		return render.KeyPair{}, err
	}
	return server.pair, nil
}

// parseAuthority reads an authority from PEM and checks that it can sign. The
// error says what is wrong with which key of a Secret, and nothing of a private key.
func parseAuthority(pair render.KeyPair) (*authority, error) {
	chain, err := issuance.ParseCertificates(pair.Certificate)
	if err != nil {
		return nil, fmt.Errorf("tls.crt: %w", err)
	}
	roots, err := issuance.ParseCertificates(pair.Roots)
	if err != nil {
		return nil, fmt.Errorf("ca.crt: %w", err)
	}
	key, err := issuance.ParseKey(pair.Key)
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
