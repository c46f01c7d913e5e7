package acme

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"
)

// ChallengeType is a validation method of RFC 8555 §9.7.8.
type ChallengeType string

// The challenge types, each with an entry in [ChallengeTypes].
const (
	HTTP01    ChallengeType = "http-01"     // RFC 8555 §8.3
	DNS01     ChallengeType = "dns-01"      // RFC 8555 §8.4
	TLSALPN01 ChallengeType = "tls-alpn-01" // RFC 8737, RFC 8738
	// DNSAccount01 is of draft-ietf-acme-dns-account-label-03.
	DNSAccount01 ChallengeType = "dns-account-01"
	// DNSPersist01 is of draft-ietf-acme-dns-persist-02.
	DNSPersist01 ChallengeType = "dns-persist-01"
)

// ChallengeTypes lists the challenge types in the order in which they are offered.
var ChallengeTypes = []ChallengeType{HTTP01, DNS01, TLSALPN01, DNSAccount01, DNSPersist01}

// DefaultChallenges lists those that are offered where nobody chose: not the types
// of drafts, which may still change.
var DefaultChallenges = []ChallengeType{HTTP01, DNS01, TLSALPN01}

// Proves reports whether a challenge of type t can prove control of id: a
// wildcard only by DNS (RFC 8555 §8.4), an address never by it (RFC 8738 §7).
func (t ChallengeType) Proves(id Identifier) bool {
	switch t {
	case DNS01, DNSAccount01, DNSPersist01:
		return id.Type == DNS
	default:
		return !id.IsWildcard()
	}
}

// ChallengeStatus is a status of RFC 8555 §7.1.6.
type ChallengeStatus string

// The states of a challenge: pending → processing → valid or invalid.
const (
	ChallengePending    ChallengeStatus = "pending"
	ChallengeProcessing ChallengeStatus = "processing"
	ChallengeValid      ChallengeStatus = "valid"
	ChallengeInvalid    ChallengeStatus = "invalid"
)

// Challenge is one way to prove control (RFC 8555 §7.1.5). It is named by its
// authorization and its type: an authorization is attempted by one challenge
// only, and is invalid when that fails.
type Challenge struct {
	Type   ChallengeType
	Status ChallengeStatus
	// ValidatedAt is zero until the challenge is valid.
	ValidatedAt time.Time
	// Error tells why the challenge is invalid, or why the last attempt of one
	// that is still processing found nothing.
	Error *Problem
}

// NewToken returns a fresh token for the challenges of an authorization: 128
// random bits (RFC 8555 §8.1 asks for no less) in base64url.
func NewToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// KeyAuthorization returns what a response to a challenge must show (RFC 8555 §8.1).
func KeyAuthorization(token string, account Thumbprint) string {
	return token + "." + account.String()
}

// Validation is the work of proving one challenge. It is a row of the durable
// queue: whoever holds the lease does it. A first attempt may be made of one that has
// no lease yet, as nothing of it is stored (see [ProveFunc]).
type Validation struct {
	AuthorizationID ID
	AccountID       ID
	// Thumbprint is that of the account's key, for the key authorization.
	Thumbprint Thumbprint
	// FormerKeys are those of the keys that the account had before, the last first.
	FormerKeys []Thumbprint
	Identifier Identifier
	Wildcard   bool
	Type       ChallengeType
	Token      string
	// Attempt counts from 1.
	Attempt int
	// Lease is the holder's mark: a result is only taken from whoever has it.
	Lease ID
	// Until is set by a proof that must not be relied on after a time; neither the
	// authorization nor its order lasts longer.
	Until time.Time
	// Lasts is for how long the authorization is of use once it is valid, since it was
	// made: it lasts until then, though its order ends before. 0 where no order uses it
	// again.
	Lasts time.Duration
}

// Named returns the identifier as the order names it: with the wildcard prefix, if
// the authorization was made for that.
func (v *Validation) Named() Identifier {
	if !v.Wildcard {
		return v.Identifier
	}
	return v.Identifier.Wildcard()
}

// ProveFunc attempts a validation, soon, and reports whether control was proved. It
// may set Until and Lasts.
type ProveFunc func(ctx context.Context, v *Validation) bool
