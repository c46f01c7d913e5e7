package issuance

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// backdate is how long before it is made a certificate begins, for clients whose
// clocks are behind.
const backdate = 5 * time.Minute

// maxCommonName is the longest common name, in octets (RFC 5280 appendix A.1, ub-common-name).
const maxCommonName = 64

// Issue signs a certificate for an order with the key of a request that
// [Authority.CheckRequest] has passed. Its names are the order's, its validity is
// that of [Authority.validity], and all else is its profile's. The error is a
// [acme.Problem] where a client is at fault: badCSR where the request does not name
// exactly the order's identifiers (RFC 8555 §7.4), invalidProfile where the order's
// profile is no longer served, malformed where no time is left of the validity that
// it asks for.
func (a *Authority) Issue(ctx context.Context, o *acme.Order, request *x509.CertificateRequest) (*acme.Certificate, error) {
	profile, ok := a.profiles[o.Profile]
	if !ok {
		return nil, acme.Problemf(acme.InvalidProfile, "the order's profile %q is no longer served; make another order", acme.Excerpt(o.Profile))
	}
	now := a.clock()
	template, err := a.template(profile, o, request.PublicKey, now)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // an answer that nobody waits for is not signed
		return nil, fmt.Errorf("signing: %w", err)
	}
	if problem := a.checkNames(request, o.Identifiers); problem != nil {
		return nil, problem
	}
	certificate, err := a.sign(template, request.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := a.linter.check(ctx, certificate); err != nil {
		return nil, err
	}
	return &acme.Certificate{
		ID: o.ID, AccountID: o.AccountID,
		Serial: serialOf(certificate), IssuerID: a.id, DER: certificate.Raw,
		NotBefore: certificate.NotBefore, NotAfter: certificate.NotAfter, IssuedAt: now,
	}, nil
}

// template returns what the certificate of an order is to say.
func (a *Authority) template(p Profile, o *acme.Order, key crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	notBefore, notAfter, err := a.validity(p, o, now)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		NotBefore: notBefore, NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: p.Usages,
	}
	if err := addNames(t, o.Identifiers); err != nil {
		return nil, err
	}
	if p.CommonName {
		i := slices.IndexFunc(t.DNSNames, func(name string) bool { return len(name) <= maxCommonName })
		if i >= 0 {
			t.Subject.CommonName = t.DNSNames[i]
		}
	}
	if _, isRSA := key.(*rsa.PublicKey); isRSA && p.KeyEncipherment {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	return t, nil
}

// addNames writes the identifiers as subject alternative names.
func addNames(t *x509.Certificate, identifiers []acme.Identifier) error {
	if len(identifiers) == 0 {
		return errors.New("a certificate without names is not issued")
	}
	for _, id := range identifiers {
		switch id.Type {
		case acme.DNS:
			t.DNSNames = append(t.DNSNames, id.Value)
		case acme.IP:
			addr, err := netip.ParseAddr(id.Value)
			if err != nil {
				return fmt.Errorf("identifier %q: %w", id.Value, err)
			}
			t.IPAddresses = append(t.IPAddresses, net.IP(addr.AsSlice()))
		default:
			return fmt.Errorf("identifier %q has the type %q", id.Value, id.Type)
		}
	}
	return nil
}

// validity returns the first and the last second of an order's certificate. What
// was asked for is cut to what can be given, never refused (clients send
// notAfter as a wish): it begins no earlier than [backdate] ago and ends, however
// late it begins, no later than one that was asked for nothing, so that nobody
// puts a proof of today by for another year; nor does it outlive its issuer. Only
// where that leaves nothing is the order at fault.
func (a *Authority) validity(p Profile, o *acme.Order, now time.Time) (notBefore, notAfter time.Time, err error) {
	if now.After(a.end) {
		return time.Time{}, time.Time{}, fmt.Errorf("%s, or what it is signed by, expired at %s", describe(a.issuer), stamp(a.end))
	}
	notBefore = later(now.Add(-backdate), a.issuer.NotBefore).UTC().Truncate(time.Second)
	// The last second counts (RFC 5280 §4.1.2.5), hence one less.
	notAfter = earlier(notBefore.Add(p.Lifetime-time.Second), a.end)
	if !o.NotBefore.IsZero() {
		notBefore = later(notBefore, o.NotBefore)
	}
	if !o.NotAfter.IsZero() {
		notAfter = earlier(notAfter, o.NotAfter)
	}
	notBefore, notAfter = notBefore.UTC().Truncate(time.Second), notAfter.UTC().Truncate(time.Second)
	if notAfter.Before(notBefore) || notAfter.Before(now) {
		return time.Time{}, time.Time{}, acme.Problemf(acme.Malformed,
			"the validity that the order asks for leaves no time: at most it could be from %s to %s", stamp(notBefore), stamp(notAfter))
	}
	return notBefore, notAfter, nil
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// sign completes a template with what every certificate of the authority has,
// signs it, and returns it as a client would read it. The standard library
// verifies the signature with the signer's public key, which [New] found to be
// the issuing certificate's, so that a faulty signer is caught here.
func (a *Authority) sign(template *x509.Certificate, key crypto.PublicKey) (*x509.Certificate, error) {
	skid, err := keyID(key)
	if err != nil {
		return nil, err
	}
	serial := newSerial(a.clock())
	template.SerialNumber = new(big.Int).SetBytes(serial[:])
	template.BasicConstraintsValid = true // CA:FALSE, and critical
	template.SubjectKeyId = skid
	template.AuthorityKeyId = a.issuer.SubjectKeyId
	if a.crlURL != "" {
		template.CRLDistributionPoints = []string{a.crlURL}
	}
	if a.aiaURL != "" {
		template.IssuingCertificateURL = []string{a.aiaURL}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.issuer, key, a.signer)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate that was signed: %w", err)
	}
	if err := a.compare(certificate, template, key); err != nil {
		return nil, fmt.Errorf("certificate %s is not what was to be signed: %w", serial, err)
	}
	return certificate, nil
}

// compare checks that a certificate, read again, says what its template did: a
// name that is read otherwise than it was written must not leave.
func (a *Authority) compare(got, want *x509.Certificate, key crypto.PublicKey) error {
	switch {
	case got.SerialNumber.Cmp(want.SerialNumber) != 0:
		return errors.New("the serial number differs")
	case !samePublicKey(got.PublicKey, key):
		return errors.New("the key differs")
	case !bytes.Equal(got.RawIssuer, a.issuer.RawSubject):
		return errors.New("the issuer differs")
	case got.IsCA || got.KeyUsage != want.KeyUsage || !slices.Equal(got.ExtKeyUsage, want.ExtKeyUsage):
		return errors.New("the usages differ")
	case !got.NotBefore.Equal(want.NotBefore.Truncate(time.Second)) || !got.NotAfter.Equal(want.NotAfter.Truncate(time.Second)):
		return errors.New("the validity differs")
	case !slices.Equal(got.DNSNames, want.DNSNames) || !slices.EqualFunc(got.IPAddresses, want.IPAddresses, net.IP.Equal):
		return errors.New("the names differ")
	case len(got.EmailAddresses) > 0 || len(got.URIs) > 0 || got.Subject.CommonName != want.Subject.CommonName:
		return errors.New("there are names that were not asked for")
	}
	return nil
}

// newSerial returns a serial number: 48 bits of the time in milliseconds, as version 7
// UUIDs begin (RFC 9562 §5.7), so that an index of them grows at its end; and 80 random
// bits, of which the Baseline Requirements (§7.1) ask for 64. The first octet is never
// zero, whatever the clock says, so that the encoding never varies in length.
func newSerial(now time.Time) (s acme.Serial) {
	binary.BigEndian.PutUint64(s[:8], uint64(now.UnixMilli())<<16) //nolint:gosec // of a time before 1970, too, it only has to be a number
	s[0] = max(s[0]&0x7f, 1)
	_, _ = rand.Read(s[6:]) // never fails (crypto/rand)
	return s
}

// serialOf returns the serial number of a certificate that [Authority.sign] made.
func serialOf(c *x509.Certificate) acme.Serial {
	var s acme.Serial
	c.SerialNumber.FillBytes(s[:])
	return s
}

// keyID returns the subject key identifier: 160 bits of the SHA-256 of the
// public key (RFC 7093 §2, method 1), as the standard library makes for CAs.
func keyID(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	var info struct {
		Algorithm asn1.RawValue
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(info.PublicKey.Bytes)
	return sum[:20], nil
}
