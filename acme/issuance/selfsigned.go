package issuance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// KeyAlgorithm is a kind and size of key.
type KeyAlgorithm string

// The key algorithms, each in [KeyAlgorithms].
const (
	ECDSAP256 KeyAlgorithm = "ECDSA-P256"
	ECDSAP384 KeyAlgorithm = "ECDSA-P384"
	RSA2048   KeyAlgorithm = "RSA-2048"
	RSA3072   KeyAlgorithm = "RSA-3072"
	RSA4096   KeyAlgorithm = "RSA-4096"
	Ed25519   KeyAlgorithm = "Ed25519"
)

// KeyAlgorithms lists the key algorithms, the default first.
var KeyAlgorithms = []KeyAlgorithm{ECDSAP256, ECDSAP384, RSA2048, RSA3072, RSA4096, Ed25519}

// GenerateKey returns a new private key; empty stands for the default algorithm.
func GenerateKey(algorithm KeyAlgorithm) (crypto.Signer, error) {
	switch algorithm {
	case ECDSAP256, "":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	known := make([]string, len(KeyAlgorithms))
	for i, a := range KeyAlgorithms {
		known[i] = string(a)
	}
	return nil, fmt.Errorf("key algorithm %q is not known: write one of %s", algorithm, strings.Join(known, ", "))
}

// RootConfig describes a root certificate to be made.
type RootConfig struct {
	CommonName   string
	Organization string // optional
	KeyAlgorithm KeyAlgorithm
	// Key is the key to certify, such as that of a certificate to be renewed;
	// default a new one of KeyAlgorithm.
	Key crypto.Signer
	// Lifetime counts both ends; it is at least a day.
	Lifetime time.Duration
	// Clock tells the time; default [time.Now].
	Clock func() time.Time
}

// IntermediateConfig describes an intermediate certificate to be made, in the
// same words.
type IntermediateConfig RootConfig

// NewRoot makes a self-signed root.
func NewRoot(c RootConfig) (*x509.Certificate, crypto.Signer, error) {
	template, key, err := caTemplate(c)
	if err != nil {
		return nil, nil, fmt.Errorf("root certificate: %w", err)
	}
	certificate, err := signCA(template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("root certificate: %w", err)
	}
	return certificate, key, nil
}

// NewIntermediate makes a CA certificate, signed by a root (or
// another CA) that may still be followed by one. It signs end-entity
// certificates alone (path length 0) and does not outlive its issuer.
func NewIntermediate(root *x509.Certificate, rootKey crypto.Signer, c IntermediateConfig) (*x509.Certificate, crypto.Signer, error) {
	if !samePublicKey(root.PublicKey, rootKey.Public()) {
		return nil, nil, fmt.Errorf("intermediate certificate: the private key is not that of %s", describe(root))
	}
	if root.MaxPathLen == 0 && root.MaxPathLenZero {
		return nil, nil, fmt.Errorf("intermediate certificate: %s has a path length of 0 and may sign no CA certificate", describe(root))
	}
	template, key, err := caTemplate(RootConfig(c))
	if err != nil {
		return nil, nil, fmt.Errorf("intermediate certificate: %w", err)
	}
	template.NotBefore = later(template.NotBefore, root.NotBefore)
	template.NotAfter = earlier(template.NotAfter, root.NotAfter)
	template.MaxPathLenZero = true
	if !template.NotBefore.Before(template.NotAfter) {
		return nil, nil, fmt.Errorf("intermediate certificate: %s is valid from %s to %s", describe(root), stamp(root.NotBefore), stamp(root.NotAfter))
	}
	certificate, err := signCA(template, root, key.Public(), rootKey)
	if err != nil {
		return nil, nil, fmt.Errorf("intermediate certificate: %w", err)
	}
	return certificate, key, nil
}

// caTemplate returns what a CA certificate is to say, with its key.
func caTemplate(c RootConfig) (*x509.Certificate, crypto.Signer, error) {
	if c.CommonName == "" || len(c.CommonName) > maxCommonName {
		return nil, nil, fmt.Errorf("common name %q: it should have 1 to %d octets", c.CommonName, maxCommonName)
	}
	if c.Lifetime < 24*time.Hour {
		return nil, nil, fmt.Errorf("lifetime %s: it should be at least a day", c.Lifetime)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Key == nil {
		key, err := GenerateKey(c.KeyAlgorithm)
		if err != nil {
			return nil, nil, err
		}
		c.Key = key
	}
	subject := pkix.Name{CommonName: c.CommonName}
	if c.Organization != "" {
		subject.Organization = []string{c.Organization}
	}
	serial := newSerial(c.Clock())
	notBefore := c.Clock().Add(-backdate).UTC().Truncate(time.Second)
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]), Subject: subject,
		NotBefore: notBefore, NotAfter: notBefore.Add(c.Lifetime - time.Second),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, c.Key, nil
}

// signCA signs a CA certificate and verifies that with its issuer's.
func signCA(template, issuer *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	skid, err := keyID(key)
	if err != nil {
		return nil, err
	}
	template.SubjectKeyId = skid
	template.AuthorityKeyId = issuer.SubjectKeyId
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key, signer)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading what was signed: %w", err)
	}
	if issuer == template { // a root is its own issuer
		issuer = certificate
	}
	if err := certificate.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("%s may not sign it: %w", describe(issuer), err)
	}
	return certificate, nil
}
