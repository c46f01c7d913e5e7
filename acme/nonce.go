package acme

import "time"

// Nonce is an anti-replay nonce (RFC 8555 §6.5) as acme/nonce opened it: that
// this service sealed it is proved, that it was not used before is for the store
// to say.
type Nonce struct {
	// KeyID names the key it was sealed with; a nonce dies with its key.
	KeyID uint32
	// ExpiresAt has whole seconds. Whether it has passed is told by the store's clock.
	ExpiresAt time.Time
	ID        [16]byte
}

// NonceKey is a key that nonces are sealed with. All replicas share it through
// the store.
type NonceKey struct {
	ID     uint32
	Secret [32]byte
}
