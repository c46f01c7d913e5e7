package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// BenchmarkJWS is what every POST costs before anybody is asked: reading the JWS and
// verifying its signature. The key is one that is remembered of the account.
func BenchmarkJWS(b *testing.B) {
	es256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	rs256, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	for algorithm, key := range map[jose.SignatureAlgorithm]crypto.Signer{jose.ES256: es256, jose.RS256: rs256} {
		body := signed(b, algorithm, key, `{"identifiers":[{"type":"dns","value":"a.example"}]}`)
		public := &jose.JSONWebKey{Key: key.Public()}
		b.Run(string(algorithm), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				jws, err := parseJWS(body)
				if err != nil {
					b.Fatal(err)
				}
				if err := new(request).verify(jws, public); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// signed returns the body of a request of an account.
func signed(b *testing.B, algorithm jose.SignatureAlgorithm, key crypto.Signer, payload string) []byte {
	b.Helper()
	options := (&jose.SignerOptions{}).
		WithHeader("kid", "https://ca.test/account/0198f8c0-0000-7000-8000-000000000000").
		WithHeader("url", "https://ca.test/new-order").
		WithHeader("nonce", "AAAAAQAAAABpJ5kAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		b.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		b.Fatal(err)
	}
	return []byte(jws.FullSerialize())
}
