// Package nonce seals and opens anti-replay nonces (RFC 8555 §6.5).
//
// A nonce is made without a word to the database: it carries its key's name, its
// expiry and 128 random bits under an HMAC, so that nobody can fill a table by
// asking for nonces, and garbage is refused before anything is read. That a
// nonce is used only once is the store's part: it records the redeemed ones.
//
// The package knows the keys only by the [KeySource] it is given. They live and
// die with the record of redeemed nonces: a database that lost the record lost
// the keys too, and what they sealed is refused, not replayed.
package nonce

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// KeySource keeps the keys that all replicas share.
type KeySource interface {
	// NonceKeys returns the keys in use, the newest first. It makes one where there
	// is none, and a new one when the newest is due.
	NonceKeys(ctx context.Context) ([]acme.NonceKey, error)
}

// Config is what a [Sealer] needs.
type Config struct {
	Keys KeySource
	// Lifetime of a nonce; default an hour. Clients keep them for their next request.
	Lifetime time.Duration
	// RefreshInterval is how often Run asks for the keys; default ten minutes. It must
	// be far below the time after which a key that is no longer the newest goes.
	RefreshInterval time.Duration
	// Now is the clock; default [time.Now].
	Now func() time.Time
}

// minRefresh is the shortest time between two questions for the keys, so that a
// flood of nonces sealed with unknown keys does not reach the database.
const minRefresh = 500 * time.Millisecond

// The layout of a nonce, in octets: key ID, expiry in Unix seconds, random, tag.
const (
	keyEnd    = 4
	expiryEnd = keyEnd + 8
	idEnd     = expiryEnd + 16
	tagEnd    = idEnd + 16
)

// Sealer seals and opens nonces. It is safe for concurrent use.
type Sealer struct {
	config Config
	keys   atomic.Pointer[[]acme.NonceKey]

	refreshing sync.Mutex
	refreshed  time.Time // of the last answer; guarded by refreshing
}

// New returns a sealer that knows the keys of now.
func New(ctx context.Context, c Config) (*Sealer, error) {
	if c.Lifetime == 0 {
		c.Lifetime = time.Hour
	}
	if c.RefreshInterval == 0 {
		c.RefreshInterval = 10 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Sealer{config: c}
	return s, s.Refresh(ctx)
}

// Seal returns a fresh nonce of 59 characters.
func (s *Sealer) Seal() (string, error) {
	keys := s.keys.Load()
	if keys == nil {
		return "", errors.New("no nonce key is known")
	}
	key := (*keys)[0]
	var b [tagEnd]byte
	binary.BigEndian.PutUint32(b[:keyEnd], key.ID)
	binary.BigEndian.PutUint64(b[keyEnd:expiryEnd], uint64(s.config.Now().Add(s.config.Lifetime).Unix())) //nolint:gosec // after 1970
	_, _ = rand.Read(b[expiryEnd:idEnd])                                                                  // never fails (crypto/rand)
	copy(b[idEnd:], tag(key, b[:idEnd]))
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// Open returns what a nonce says, when it was sealed with a key in use. The
// error is [acme.ErrNonceKeyGone] where its key is not known here. An expired
// nonce opens: the store, by whose clock its record is kept, refuses it.
func (s *Sealer) Open(text string) (acme.Nonce, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != tagEnd {
		return acme.Nonce{}, errors.New("not a nonce of this server")
	}
	id := binary.BigEndian.Uint32(b[:keyEnd])
	key, ok := s.key(id)
	if !ok {
		return acme.Nonce{}, acme.ErrNonceKeyGone
	}
	if !hmac.Equal(tag(key, b[:idEnd]), b[idEnd:]) {
		return acme.Nonce{}, errors.New("not a nonce of this server")
	}
	expiry := binary.BigEndian.Uint64(b[keyEnd:expiryEnd])
	return acme.Nonce{KeyID: id, ExpiresAt: time.Unix(int64(expiry), 0), ID: [16]byte(b[expiryEnd:idEnd])}, nil //nolint:gosec // sealed by us
}

// key returns the key with an ID.
func (s *Sealer) key(id uint32) (acme.NonceKey, bool) {
	if keys := s.keys.Load(); keys != nil {
		for _, k := range *keys {
			if k.ID == id {
				return k, true
			}
		}
	}
	return acme.NonceKey{}, false
}

// Refresh asks for the keys, unless that was just done.
func (s *Sealer) Refresh(ctx context.Context) error {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	// The wall clock may be set back; the zero time and a monotonic difference may not.
	if !s.refreshed.IsZero() && time.Since(s.refreshed) < minRefresh {
		return nil
	}
	keys, err := s.config.Keys.NonceKeys(ctx)
	if err != nil {
		return fmt.Errorf("nonce keys: %w", err)
	}
	if len(keys) == 0 {
		return errors.New("nonce keys: none")
	}
	s.keys.Store(&keys)
	s.refreshed = time.Now()
	return nil
}

// Run keeps the keys current until ctx ends. A failure is left to the next
// round: the keys known go on to serve.
func (s *Sealer) Run(ctx context.Context, failed func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.config.RefreshInterval):
		}
		if err := s.Refresh(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

// tag returns the authenticator of a nonce's first octets: HMAC-SHA256, cut to 128 bits.
func tag(key acme.NonceKey, sealed []byte) []byte {
	mac := hmac.New(sha256.New, key.Secret[:])
	mac.Write(sealed)
	return mac.Sum(nil)[:tagEnd-idEnd]
}
