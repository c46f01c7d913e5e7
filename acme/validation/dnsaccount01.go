package validation

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// dnsAccount01 proves control by a TXT record whose name has a label of the
// account's, so that several accounts can prove control of one name at the same
// time (draft-ietf-acme-dns-account-label-03).
type dnsAccount01 struct {
	resolver *resolver
	accounts accountURLs
}

// prove looks for the record below the label of each URL that the account has: the
// client took the one that it was given.
func (m *dnsAccount01) prove(ctx context.Context, v *acme.Validation) *failure {
	want := digestOf(v)
	var wrong, missing *failure
	for _, url := range m.accounts.of(v.AccountID) {
		name := accountLabel(url) + "." + dnsLabel + v.Identifier.Base().Value
		texts, f := m.resolver.texts(ctx, name)
		switch {
		case f != nil:
			missing = cmp.Or(missing, f.during("dns-account-01 (account %s)", url))
		case contains(texts, want):
			return nil
		case len(texts) > 0:
			wrong = cmp.Or(wrong, failed(acme.IncorrectResponse, "dns-account-01 (account %s): no TXT record of %s is %q; found %s", url, name, want, quoted(texts)))
		default:
			missing = cmp.Or(missing, failed(acme.IncorrectResponse, "dns-account-01 (account %s): %s has no TXT record, want %q", url, name, want))
		}
	}
	return cmp.Or(wrong, missing, refused(acme.ServerInternal, "dns-account-01: the account has no URL"))
}

// accountLabel returns the label of an account's URL.
func accountLabel(url string) string {
	sum := sha256.Sum256([]byte(url))
	return "_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}
