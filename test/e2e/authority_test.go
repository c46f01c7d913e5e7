//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// authority is one that a test brings.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// keyPair is a certificate and its key, in PEM.
type keyPair struct{ certificate, key []byte }

// newAuthority makes a root.
func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	return newCertificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
}

// intermediate makes an authority below this one.
func (a *authority) intermediate(t *testing.T, name string) *authority {
	t.Helper()
	return newCertificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, a)
}

// crossSign makes another certificate for the key and the subject of an authority, in PEM.
func (a *authority) crossSign(t *testing.T, other *authority) []byte {
	t.Helper()
	return sign(t, &x509.Certificate{
		Subject: other.certificate.Subject, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: other.certificate.KeyUsage,
	}, a, other.key).pem
}

// issue makes a certificate for a host.
func (a *authority) issue(t *testing.T, host string) keyPair {
	t.Helper()
	return newCertificate(t, &x509.Certificate{
		DNSNames: []string{host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage: x509.KeyUsageDigitalSignature,
	}, a).pair(t)
}

// pair returns an authority as a Secret has it.
func (a *authority) pair(t *testing.T) keyPair {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{certificate: a.pem, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// newCertificate signs a template with a new key; without an issuer, with its own.
func newCertificate(t *testing.T, template *x509.Certificate, issuer *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sign(t, template, issuer, key)
}

// sign signs a template for a key; without an issuer, with that key.
func sign(t *testing.T, template *x509.Certificate, issuer *authority, key *ecdsa.PrivateKey) *authority {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(240*time.Hour)
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}
