package nonce_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/nonce"
)

// keys is a source whose keys the test sets.
type keys []acme.NonceKey

func (k *keys) NonceKeys(context.Context) ([]acme.NonceKey, error) { return *k, nil }

func newSealer(t *testing.T, source nonce.KeySource) *nonce.Sealer {
	t.Helper()
	s, err := nonce.New(t.Context(), nonce.Config{Keys: source})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func seal(t *testing.T, s *nonce.Sealer) string {
	t.Helper()
	n, err := s.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestANonceSealedByOneReplicaOpensOnAnother(t *testing.T) {
	t.Parallel()
	shared := keys{{ID: 7, Secret: [32]byte{1}}}
	text := seal(t, newSealer(t, &shared))
	n, err := newSealer(t, &shared).Open(text)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(n.ExpiresAt); n.KeyID != 7 || left < 59*time.Minute || left > time.Hour {
		t.Errorf("opened key %d, %v left; want key 7 and about an hour", n.KeyID, left)
	}
}

func TestNoTwoNoncesAreTheSame(t *testing.T) {
	t.Parallel()
	s := newSealer(t, &keys{{ID: 1}})
	if a, b := seal(t, s), seal(t, s); a == b {
		t.Errorf("sealed %q twice", a)
	}
}

func TestAChangedNonceIsRefusedWhicheverBitChanged(t *testing.T) {
	t.Parallel()
	s := newSealer(t, &keys{{ID: 1}})
	raw, err := base64.RawURLEncoding.DecodeString(seal(t, s))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		changed := append([]byte(nil), raw...)
		changed[i/8] ^= 1 << (i % 8)
		if _, err := s.Open(base64.RawURLEncoding.EncodeToString(changed)); err == nil {
			t.Errorf("opened with bit %d changed", i)
		}
	}
}

func TestANonceDiesWithItsKey(t *testing.T) {
	t.Parallel()
	old := newSealer(t, &keys{{ID: 1, Secret: [32]byte{1}}})
	text := seal(t, old)
	// The same ID with another secret is what a database makes anew after a crash.
	if _, err := newSealer(t, &keys{{ID: 1, Secret: [32]byte{2}}}).Open(text); err == nil {
		t.Error("opened under another secret")
	}
	if _, err := newSealer(t, &keys{{ID: 2}}).Open(text); !errors.Is(err, acme.ErrNonceKeyGone) {
		t.Errorf("opening under an unknown key: %v, want ErrNonceKeyGone", err)
	}
}

func TestTheNewestKeySealsAndOlderOnesStillOpen(t *testing.T) {
	t.Parallel()
	older := acme.NonceKey{ID: 1, Secret: [32]byte{1}}
	text := seal(t, newSealer(t, &keys{older}))
	s := newSealer(t, &keys{{ID: 2, Secret: [32]byte{2}}, older})
	if n, err := s.Open(text); err != nil || n.KeyID != 1 {
		t.Errorf("older nonce: key %d, %v", n.KeyID, err)
	}
	if n, err := s.Open(seal(t, s)); err != nil || n.KeyID != 2 {
		t.Errorf("new nonce: key %d, %v; want key 2", n.KeyID, err)
	}
}

func BenchmarkSealAndOpen(b *testing.B) {
	s, err := nonce.New(b.Context(), nonce.Config{Keys: &keys{{ID: 1}}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		text, _ := s.Seal()
		if _, err := s.Open(text); err != nil {
			b.Fatal(err)
		}
	}
}
