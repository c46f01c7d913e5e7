package acmetest

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"strings"
)

// DNS01Value returns the TXT record that a key authorization is shown by in dns-01
// (RFC 8555 §8.4) and dns-account-01.
func DNS01Value(keyAuthorization string) string {
	sum := sha256.Sum256([]byte(keyAuthorization))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// AccountLabel returns the label that an account's URL has in dns-account-01
// (draft-ietf-acme-dns-account-label-03).
func AccountLabel(url string) string {
	sum := sha256.Sum256([]byte(url))
	return "_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// AccountHash returns what stands for an account in records of dns-persist-01
// behind the server's accountHashPrefix (draft-ietf-acme-dns-persist-02 §4.1). The
// key is the thumbprint of the account's key in base64url, the domain that of the
// record, or "*" for a record that is good in any.
func AccountHash(domain, key, url string) string {
	sum := sha256.Sum256(append([]byte{byte(len(domain))}, domain+key+url...))
	return "sha-256/" + base64.RawURLEncoding.EncodeToString(sum[:])
}
