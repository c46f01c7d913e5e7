package acmetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/go-jose/go-jose/v4"
)

// JWS is a request's body in the making (RFC 8555 §6.2). What Header has stands
// in the protected header instead of what the other fields would put there; nil
// takes a member out.
type JWS struct {
	Key     crypto.Signer
	KeyID   string // the account; without it the header has the jwk
	URL     string
	Nonce   string
	Payload []byte // empty for POST-as-GET
	Header  map[string]any
	// Body, where it is set, has members of the JWS that replace what Encode made;
	// nil takes a member out.
	Body map[string]any
}

// SetPayload encodes a payload: nil is none, []byte is taken as it is.
func (j *JWS) SetPayload(v any) (err error) {
	switch v := v.(type) {
	case nil:
		j.Payload = nil
	case []byte:
		j.Payload = v
	default:
		j.Payload, err = json.Marshal(v)
	}
	return err
}

// Encode signs and returns the flattened JSON serialization.
func (j *JWS) Encode() ([]byte, error) {
	alg, hash, err := algorithmOf(j.Key)
	if err != nil {
		return nil, err
	}
	header := map[string]any{"alg": alg, "url": j.URL, "nonce": j.Nonce}
	if j.KeyID != "" {
		header["kid"] = j.KeyID
	} else {
		header["jwk"] = jose.JSONWebKey{Key: j.Key.Public()}
	}
	merge(header, j.Header)
	protected, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	b64 := base64.RawURLEncoding
	body := map[string]any{"protected": b64.EncodeToString(protected), "payload": b64.EncodeToString(j.Payload)}
	signature, err := sign(j.Key, hash, []byte(body["protected"].(string)+"."+body["payload"].(string)))
	if err != nil {
		return nil, err
	}
	body["signature"] = b64.EncodeToString(signature)
	merge(body, j.Body)
	return json.Marshal(body)
}

// merge puts the entries of over into m; nil takes one out.
func merge(m, over map[string]any) {
	for k, v := range over {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
}

// algorithmOf returns the JWS algorithm of a key, and its hash.
func algorithmOf(key crypto.Signer) (jose.SignatureAlgorithm, crypto.Hash, error) {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		return jose.RS256, crypto.SHA256, nil
	case ed25519.PublicKey:
		return jose.EdDSA, 0, nil
	case *ecdsa.PublicKey:
		switch public.Curve.Params().BitSize {
		case 256:
			return jose.ES256, crypto.SHA256, nil
		case 384:
			return jose.ES384, crypto.SHA384, nil
		case 521:
			return jose.ES512, crypto.SHA512, nil
		}
	}
	return "", 0, fmt.Errorf("no JWS algorithm for a %T", key.Public())
}

// sign signs as RFC 7518 §3 says.
func sign(key crypto.Signer, hash crypto.Hash, input []byte) ([]byte, error) {
	digest := input
	if hash != 0 {
		h := hash.New()
		h.Write(input)
		digest = h.Sum(nil)
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	public, ok := key.Public().(*ecdsa.PublicKey)
	if err != nil || !ok {
		return signature, err
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &rs); err != nil {
		return nil, err
	}
	size := (public.Curve.Params().BitSize + 7) / 8
	raw := make([]byte, 2*size)
	rs.R.FillBytes(raw[:size])
	rs.S.FillBytes(raw[size:])
	return raw, nil
}
