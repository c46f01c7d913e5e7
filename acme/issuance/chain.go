package issuance

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// checkIssuer checks what can be told of the chain and the key by looking at
// them, so that the error of a common slip is in words of its own.
func checkIssuer(c *Config) error {
	if len(c.Chain) == 0 {
		return errors.New("there is no issuing certificate")
	}
	if len(c.Roots) == 0 {
		return errors.New("there is no root certificate: clients need one to trust, and the chain is verified against it")
	}
	if c.Signer == nil {
		return errors.New("there is no private key")
	}
	issuer := c.Chain[0]
	switch {
	case !issuer.BasicConstraintsValid || !issuer.IsCA:
		return fmt.Errorf("%s is not a CA certificate: its basic constraints must say CA:TRUE", describe(issuer))
	case issuer.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s may not sign certificates: its key usage must have keyCertSign", describe(issuer))
	case len(issuer.SubjectKeyId) == 0:
		// RFC 5280 §4.2.1.2; renewal information (RFC 9773 §4.1) is asked for by it.
		return fmt.Errorf("%s has no subject key identifier, which every CA certificate must have", describe(issuer))
	case !samePublicKey(issuer.PublicKey, c.Signer.Public()):
		return fmt.Errorf("the private key (%s) is not that of %s (%s)",
			describeKey(c.Signer.Public()), describe(issuer), describeKey(issuer.PublicKey))
	}
	return checkOrder(c.Chain)
}

// checkOrder checks that each certificate of the chain is signed by the next.
func checkOrder(chain []*x509.Certificate) error {
	for i, c := range chain[:len(chain)-1] {
		if err := c.CheckSignatureFrom(chain[i+1]); err != nil {
			return fmt.Errorf("certificate %d of the chain, %s, is not signed by the next, %s: write the issuing certificate first, then each one's issuer: %w",
				i+1, describe(c), describe(chain[i+1]), err)
		}
	}
	return nil
}

// checkTimes checks that all of the certificates are valid now.
func checkTimes(certificates []*x509.Certificate, now time.Time) error {
	for _, c := range certificates {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return fmt.Errorf("%s is valid from %s to %s, and it is %s", describe(c), stamp(c.NotBefore), stamp(c.NotAfter), stamp(now))
		}
	}
	return nil
}

// prove signs a certificate that lasts for a moment and never leaves, and
// verifies it as a client would: the key works, nothing has expired, path
// lengths and usages allow every profile, and the chain leads to a root.
func (a *Authority) prove() error {
	now := a.clock()
	if err := checkTimes(append([]*x509.Certificate{a.issuer}, a.chain...), now); err != nil {
		return err
	}
	key, err := GenerateKey(ECDSAP256)
	if err != nil {
		return err
	}
	probe, err := a.sign(&x509.Certificate{NotBefore: now, NotAfter: now.Add(time.Second)}, key.Public())
	if err != nil {
		return fmt.Errorf("trying the private key: %w", err)
	}
	if err := a.verify(probe, now, x509.ExtKeyUsageAny); err != nil {
		return fmt.Errorf("what %s signs does not verify against the roots: %w", describe(a.issuer), err)
	}
	for _, p := range a.profiles {
		for _, usage := range p.Usages {
			if err := a.verify(probe, now, usage); err != nil {
				return fmt.Errorf("profile %q has a usage that the chain of %s does not allow: %w", p.Name, describe(a.issuer), err)
			}
		}
	}
	return nil
}

// verify follows the paths from a certificate to the roots and notes when the
// last of them ends.
func (a *Authority) verify(leaf *x509.Certificate, now time.Time, usage x509.ExtKeyUsage) error {
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool(a.roots), Intermediates: pool(append([]*x509.Certificate{a.issuer}, a.chain...)),
		CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	for _, path := range paths {
		if end := EndOf(path[1:]); end.After(a.end) {
			a.end = end
		}
	}
	return err
}

// EndOf returns when the first of the certificates, of which there must be some, ends.
func EndOf(path []*x509.Certificate) time.Time {
	return slices.MinFunc(path, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
}

// pool returns the certificates as the standard library wants them.
func pool(certificates []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certificates {
		p.AddCert(c)
	}
	return p
}

// withoutRoots returns the chain up to the first certificate that is a root.
func withoutRoots(chain, roots []*x509.Certificate) []*x509.Certificate {
	end := slices.IndexFunc(chain, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(roots, c.Equal)
	})
	if end < 0 {
		end = len(chain)
	}
	return slices.Clone(chain[:end])
}

// samePublicKey reports whether two public keys are the same.
func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

// describe names a certificate in an error.
func describe(c *x509.Certificate) string {
	if subject := c.Subject.String(); subject != "" {
		return fmt.Sprintf("certificate %q", subject)
	}
	return fmt.Sprintf("the certificate with serial number %x", c.SerialNumber)
}

// stamp writes a time as errors have it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
