package acme

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Serial is a certificate's serial number: 16 octets of which the first bit is
// zero and the first octet is not, so that it has one length in DER (RFC 5280 §4.1.2.2).
type Serial [16]byte

// String returns the serial in lower-case hexadecimal.
func (s Serial) String() string { return hex.EncodeToString(s[:]) }

// ParseSerial reads a serial number in hexadecimal, as [Serial.String] and openssl
// write it: in lower or upper case, with or without colons.
func ParseSerial(text string) (Serial, error) {
	octets, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(octets) != len(Serial{}) {
		return Serial{}, fmt.Errorf("serial number %q: want %d hexadecimal digits", Excerpt(text), 2*len(Serial{}))
	}
	return Serial(octets), nil
}

// IssuerID names an issuer: the first half of the SHA-256 of its subject and its
// public key. It stands in URLs of every certificate, hence no more than is needed
// to tell our own issuers apart. A certificate of the issuer's that is renewed for
// the same key is the same issuer: what was signed before chains to it, and one
// CRL is good for all.
type IssuerID [16]byte

// IssuerIDOf returns the name of the issuer whose certificate it is.
func IssuerIDOf(issuer *x509.Certificate) IssuerID {
	sum := sha256.Sum256(slices.Concat(issuer.RawSubject, issuer.RawSubjectPublicKeyInfo))
	return IssuerID(sum[:16])
}

// Certificate is one that was issued. Its row is committed before it leaves.
type Certificate struct {
	// ID is that of its order: one order, one certificate.
	ID        ID
	AccountID ID
	Serial    Serial
	// IssuerID names the issuer, whose chains are kept once, not with each certificate.
	IssuerID IssuerID
	// DER is the end-entity certificate.
	DER                 []byte
	NotBefore, NotAfter time.Time
	// RevokedAt is zero while the certificate is not revoked.
	RevokedAt time.Time
	// RevocationReason is a CRLReason of RFC 5280 §5.3.1.
	RevocationReason int
	IssuedAt         time.Time
}

// RevocationReasons are the CRLReasons (RFC 5280 §5.3.1) by which a certificate may be
// revoked, with their names: those that speak of the authority, or of a hold that can be
// lifted, are not among them.
var RevocationReasons = map[int]string{
	0: "unspecified",
	1: "keyCompromise",
	3: "affiliationChanged",
	4: "superseded",
	5: "cessationOfOperation",
	9: "privilegeWithdrawn",
}

// Revocation is an entry of a CRL (RFC 5280 §5.3).
type Revocation struct {
	Serial    Serial
	RevokedAt time.Time
	Reason    int
}

// RevocationState is what a CRL of an issuer is made of.
type RevocationState struct {
	// AsOf is the store's time when it was read: the CRL's thisUpdate and, in
	// milliseconds, its number, which so only ever grows (RFC 5280 §5.2.3).
	AsOf time.Time
	// Revoked lists the revoked certificates that have not expired, by serial.
	Revoked []Revocation
}

// Same reports whether two states list the same revocations.
func (s RevocationState) Same(t RevocationState) bool { return slices.Equal(s.Revoked, t.Revoked) }

// CRL is a signed certificate revocation list.
type CRL struct {
	DER []byte
	// ThisUpdate is the time of its [RevocationState], of which DER has the seconds:
	// of two CRLs of one second, one is the newer all the same.
	ThisUpdate, NextUpdate time.Time
}

// Issuer is an issuing certificate with the chains that lead from it to a root.
// Issuers are never deleted while a certificate of theirs is kept.
type Issuer struct {
	ID IssuerID
	// Chains lists the chains, the default first, each in DER from the issuer's
	// own certificate, which is always there, up to, and without, a root (RFC 8555 §9.1).
	Chains [][][]byte
}
