package server

import (
	"bytes"
	"encoding/json"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// ExternalAccounts are the keys of external account binding (RFC 8555 §7.3.4).
type ExternalAccounts struct {
	// Required refuses accounts without a binding.
	Required bool
	// Keys has the HMAC key of each key identifier.
	Keys map[string][]byte
}

// bindingAlgorithms are the MACs that a binding may have.
var bindingAlgorithms = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}

// verify checks a binding of the account key to an external account, and returns
// its key identifier; "" where none is given and none is needed. A key stays
// good: an issuer that is made again binds again.
func (e *ExternalAccounts) verify(binding json.RawMessage, accountKey *jose.JSONWebKey, url string) (string, error) {
	if len(binding) == 0 || bytes.Equal(binding, []byte("null")) {
		if e.Required {
			return "", acme.Problemf(acme.ExternalAccountRequired, "newAccount needs an externalAccountBinding here (meta.externalAccountRequired)")
		}
		return "", nil
	}
	jws, err := jose.ParseSignedJSON(string(binding), bindingAlgorithms)
	if err != nil || len(jws.Signatures) != 1 || hasMember(binding, "signatures") || hasMember(binding, "header") {
		return "", acme.Problemf(acme.Malformed, "externalAccountBinding is not a flattened JWS with one of HS256, HS384, HS512 and without an unprotected header")
	}
	h := jws.Signatures[0].Protected
	switch got, _ := h.ExtraHeaders["url"].(string); {
	case h.Nonce != "":
		return "", acme.Problemf(acme.Malformed, `externalAccountBinding must not have a "nonce"`)
	case h.JSONWebKey != nil || h.KeyID == "":
		return "", acme.Problemf(acme.Malformed, `externalAccountBinding must have "kid", and no "jwk"`)
	case got != url:
		return "", acme.Problemf(acme.Malformed, "externalAccountBinding was made for the url %q; want %q", acme.Excerpt(got), url)
	}
	// An unknown identifier and a wrong key are told apart by nobody.
	mac, known := e.Keys[h.KeyID]
	if !known {
		mac = make([]byte, 32)
	}
	payload, err := jws.Verify(mac)
	if err != nil || !known {
		return "", acme.Problemf(acme.Unauthorized, "externalAccountBinding: no external account has the identifier %q with this key", acme.Excerpt(h.KeyID))
	}
	if !sameKey(payload, accountKey) {
		return "", acme.Problemf(acme.Malformed, "externalAccountBinding: its payload is not the account's jwk")
	}
	return h.KeyID, nil
}

// sameKey reports whether a JWK in JSON is the account's key.
func sameKey(payload []byte, accountKey *jose.JSONWebKey) bool {
	var bound jose.JSONWebKey
	if bound.UnmarshalJSON(payload) != nil {
		return false
	}
	a, errA := acme.ThumbprintOf(&bound)
	b, errB := acme.ThumbprintOf(accountKey)
	return errA == nil && errB == nil && a == b
}
