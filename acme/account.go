package acme

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// AccountStatus is a status of RFC 8555 §7.1.2.
type AccountStatus string

// The states of an account: valid → deactivated (by its owner) or revoked (by us).
const (
	AccountValid       AccountStatus = "valid"
	AccountDeactivated AccountStatus = "deactivated"
	AccountRevoked     AccountStatus = "revoked"
)

// Account is a key pair's holder (RFC 8555 §7.1.2).
type Account struct {
	ID     ID
	Status AccountStatus
	// Contact holds mailto: URLs, as given.
	Contact              []string
	TermsOfServiceAgreed bool
	// Key is the public key that the account's requests are verified with.
	Key *jose.JSONWebKey
	// ExternalAccountID is the kid of the external account binding, or empty.
	ExternalAccountID string
	CreatedAt         time.Time
}

// MaxFormerKeys is how many of the keys that an account had before are remembered, the
// last first: each is looked for in records of dns-persist-01.
const MaxFormerKeys = 10

// Thumbprint is the SHA-256 thumbprint of a public key (RFC 7638): two JWKs
// with the same one are the same key.
type Thumbprint [32]byte

// ThumbprintOf returns the thumbprint of a public JWK.
func ThumbprintOf(key *jose.JSONWebKey) (Thumbprint, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return Thumbprint{}, fmt.Errorf("thumbprint of a %T: %w", key.Key, err)
	}
	return Thumbprint(sum), nil
}

// String returns the thumbprint in base64url, as key authorizations hold it.
func (t Thumbprint) String() string { return base64.RawURLEncoding.EncodeToString(t[:]) }
