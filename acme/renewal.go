package acme

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// RenewalID names a certificate by its issuer's key and its serial number (RFC
// 9773 §4.1).
type RenewalID struct {
	KeyID  string // the octets of the authority key identifier
	Serial Serial
}

// errRenewalID is what every text gets that names no certificate of ours.
var errRenewalID = errors.New("want the authority key identifier and the serial number, each in base64url, with a dot between them")

// ParseRenewalID reads the text form.
func ParseRenewalID(text string) (RenewalID, error) {
	keyText, serialText, ok := strings.Cut(text, ".")
	if !ok {
		return RenewalID{}, errRenewalID
	}
	strict := base64.RawURLEncoding.Strict()
	key, err := strict.DecodeString(keyText)
	if err != nil || len(key) == 0 {
		return RenewalID{}, errRenewalID
	}
	serial, err := strict.DecodeString(serialText)
	// All serial numbers of ours have one length, without a leading zero octet.
	if err != nil || len(serial) != len(Serial{}) {
		return RenewalID{}, errRenewalID
	}
	id := RenewalID{KeyID: string(key), Serial: Serial(serial)}
	if id.String() != text { // the decoder skips line breaks; a certificate has one name
		return RenewalID{}, errRenewalID
	}
	return id, nil
}

// RenewalIDOf returns the name of a certificate whose serial number is ours.
func RenewalIDOf(c *x509.Certificate) RenewalID {
	id := RenewalID{KeyID: string(c.AuthorityKeyId)}
	c.SerialNumber.FillBytes(id.Serial[:])
	return id
}

// String returns the text form.
func (id RenewalID) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(id.KeyID)) + "." + base64.RawURLEncoding.EncodeToString(id.Serial[:])
}

// NameSet stands for exactly some identifiers, in any order.
type NameSet [16]byte

// NameSetOf returns the set of identifiers.
func NameSetOf(identifiers []Identifier) NameSet {
	h := sha256.New()
	for _, id := range SortIdentifiers(identifiers) {
		h.Write([]byte(string(id.Type) + ":" + id.Value + "\n"))
	}
	return NameSet(h.Sum(nil)[:len(NameSet{})])
}

// String returns the set in hexadecimal.
func (s NameSet) String() string { return hex.EncodeToString(s[:]) }

// RenewalDue reports whether an order for exactly the names of a certificate, the
// newest of its account for them, renews it: half of its life is over. Before that
// it is one certificate more, such as clients order in a loop. One that was revoked
// is no exception, or a loop need only revoke what it has made.
func RenewalDue(c *Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2))
}

// Renewal is what makes an order the renewal of a certificate of its account, and
// exempt from some limits for as long as the [RenewalLimit] is not used up.
type Renewal struct {
	// Names are those of the certificate.
	Names NameSet
	// Lifetime is that of the certificate which the order replaces, where that is
	// due; 0 where the store is to look whether the newest one for Names is.
	Lifetime time.Duration
}

// Renewals names what is spent by renewals. It is in no policy, as nothing is
// refused by it: an order over it is no renewal, and owes what others do.
const Renewals LimitName = "renewals"

// minRenewalPeriod bounds what a client makes of [RenewalLimit] by ordering certificates
// that live for seconds. It is short enough for those that live for the shortest time
// of a profile.
const minRenewalPeriod = 30 * time.Minute

// RenewalLimit is how many orders are renewals, of an account and the names of a
// certificate: 20 in half of its life, in which one is enough for a client that
// works, and a loop, of whatever kind, comes to an end.
func RenewalLimit(lifetime time.Duration) Limit {
	return Limit{Count: 20, Period: max(lifetime/2, minRenewalPeriod)}
}
