package acme_test

import (
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// FuzzParseRenewalID: a certificate has one name. Whatever is parsed is written as
// it was read, so that no two texts name the same certificate.
func FuzzParseRenewalID(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		id, err := acme.ParseRenewalID(text)
		if err != nil {
			return
		}
		if got := id.String(); got != text {
			t.Errorf("%q is read as %q", text, got)
		}
		if id.KeyID == "" {
			t.Errorf("%q names no issuer", text)
		}
	})
}
