package validation

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// dnsLabel precedes the name whose control is proved (RFC 8555 §8.4).
	dnsLabel = "_acme-challenge."
	// maxTexts bounds how many records an error repeats.
	maxTexts = 5
)

// dns01 proves control by a TXT record (RFC 8555 §8.4).
type dns01 struct{ resolver *resolver }

// prove looks the record up. There may be others: of other orders, or other
// authorities.
func (m *dns01) prove(ctx context.Context, v *acme.Validation) *failure {
	name := dnsLabel + v.Identifier.Base().Value
	texts, f := m.resolver.texts(ctx, name)
	if f != nil {
		return f.during("dns-01")
	}
	want := digestOf(v)
	if contains(texts, want) {
		return nil
	}
	if len(texts) == 0 {
		return failed(acme.IncorrectResponse, "dns-01: %s has no TXT record, want %q", name, want)
	}
	return failed(acme.IncorrectResponse, "dns-01: no TXT record of %s is %q; found %s", name, want, quoted(texts))
}

// digestOf returns what a TXT record must be to prove v (RFC 8555 §8.4).
func digestOf(v *acme.Validation) string {
	digest := sha256.Sum256([]byte(acme.KeyAuthorization(v.Token, v.Thumbprint)))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// contains reports whether one of the texts is the wanted one.
func contains(texts []string, want string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		return subtle.ConstantTimeCompare([]byte(text), []byte(want)) == 1
	})
}

// quoted lists the first few of the texts.
func quoted(texts []string) string {
	var shown []string
	for _, text := range texts[:min(len(texts), maxTexts)] {
		shown = append(shown, `"`+acme.Excerpt(text)+`"`)
	}
	if rest := len(texts) - len(shown); rest > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(shown, ", ")
}
