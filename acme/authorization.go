package acme

import "time"

// AuthorizationStatus is a status of RFC 8555 §7.1.6.
type AuthorizationStatus string

// The states of an authorization: pending → valid or invalid; pending or valid
// → deactivated (by its owner) or expired; valid → revoked (by us).
const (
	AuthorizationPending     AuthorizationStatus = "pending"
	AuthorizationValid       AuthorizationStatus = "valid"
	AuthorizationInvalid     AuthorizationStatus = "invalid"
	AuthorizationDeactivated AuthorizationStatus = "deactivated"
	AuthorizationExpired     AuthorizationStatus = "expired"
	AuthorizationRevoked     AuthorizationStatus = "revoked"
)

// MinReuse is how long an authorization must still last to be used again: time enough
// to finalize.
const MinReuse = time.Hour

// Authorization is an account's right to certificates for one identifier (RFC
// 8555 §7.1.4). A pending one belongs to one order, or to none where it was
// made by newAuthz; a valid one may serve many.
type Authorization struct {
	ID        ID
	AccountID ID
	// OrderID is the order it was made for; zero for a pre-authorization.
	OrderID ID
	// Identifier never has the wildcard prefix.
	Identifier Identifier
	// Wildcard says that it was made for `*.` and the identifier.
	Wildcard bool
	Status   AuthorizationStatus
	// Token is the token of all its challenges (RFC 8555 §8.1): 128 random bits
	// in base64url.
	Token string
	// Challenges lists the types that were offered, in our order. In a trusted
	// server's authorization it may be satisfied without any attempt.
	Challenges []Challenge
	ExpiresAt  time.Time
	CreatedAt  time.Time
}

// Named returns the identifier as an order names it: with the wildcard prefix, if
// it was made for that.
func (a *Authorization) Named() Identifier {
	if !a.Wildcard {
		return a.Identifier
	}
	return a.Identifier.Wildcard()
}

// Proved returns the challenge that the authorization is valid by, or nil: that of
// a trusted account has none.
func (a *Authorization) Proved() *Challenge {
	for i := range a.Challenges {
		if a.Challenges[i].Status == ChallengeValid {
			return &a.Challenges[i]
		}
	}
	return nil
}

// Validation returns the first attempt to prove one of the challenges to the holder of
// a key, without a lease.
func (a *Authorization) Validation(t ChallengeType, key Thumbprint) *Validation {
	return &Validation{
		AuthorizationID: a.ID, AccountID: a.AccountID, Thumbprint: key, Identifier: a.Identifier, Wildcard: a.Wildcard,
		Type: t, Token: a.Token, Attempt: 1,
	}
}

// FirstValidation returns the attempt to prove a challenge that may be made before
// anything is stored of it; nil where none may. The authorization must be a proof's
// account's and wait for a response, and the proof must have its key and need no former
// ones.
func (a *Authorization) FirstValidation(by *Proof, t ChallengeType) *Validation {
	if a.AccountID != by.Account || by.Key == (Thumbprint{}) || a.Status != AuthorizationPending ||
		a.Challenge(t) == nil || t == DNSPersist01 || !time.Now().Before(a.ExpiresAt) {
		return nil
	}
	return a.Validation(t, by.Key)
}

// Challenge returns the challenge of the type t, or nil.
func (a *Authorization) Challenge(t ChallengeType) *Challenge {
	for i := range a.Challenges {
		if a.Challenges[i].Type == t {
			return &a.Challenges[i]
		}
	}
	return nil
}
