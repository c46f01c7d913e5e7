package acmetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcJWS: requests are authenticated by a JWS (RFC 8555 §6.2).
var rfcJWS = []rfcCheck{
	{says: "a POST without a body is refused", check: bodyRefused("")},
	{says: "a body that is not JSON is refused", check: bodyRefused("no")},
	{says: "a JSON object that is no JWS is refused", check: bodyRefused(`{"status":"deactivated"}`)},
	{says: "a JSON array is refused", check: bodyRefused(`[]`)},
	{says: "a body of another media type is refused with 415", check: mediaTypeRefused("application/json")},
	{says: "a body without a media type is refused with 415", check: mediaTypeRefused("")},
	{says: "the compact serialization is refused", check: serializationRefused(func(protected, payload, signature string) string {
		return protected + "." + payload + "." + signature
	})},
	{says: "the general serialization is refused", check: serializationRefused(func(protected, payload, signature string) string {
		return `{"payload":"` + payload + `","signatures":[{"protected":"` + protected + `","signature":"` + signature + `"}]}`
	})},
	{says: "the general serialization is refused where its member is written with an escape", check: serializationRefused(func(protected, payload, signature string) string {
		return `{"payload":"` + payload + `","\u0073ignatures":[{"protected":"` + protected + `","signature":"` + signature + `"}]}`
	})},
	{says: "two signatures are refused", check: serializationRefused(func(protected, payload, signature string) string {
		one := `{"protected":"` + protected + `","signature":"` + signature + `"}`
		return `{"payload":"` + payload + `","signatures":[` + one + `,` + one + `]}`
	})},
	{says: "an unprotected header is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Body = obj{"header": obj{"x": "y"}} })},
	{says: "an unprotected header is refused where its member is written with an escape", check: serializationRefused(func(protected, payload, signature string) string {
		return `{"protected":"` + protected + `","\u0068eader":{},"payload":"` + payload + `","signature":"` + signature + `"}`
	})},
	{says: "an unprotected header that repeats the protected one is refused", check: readRefused(func(_ *rfcRun, c *Client, j *JWS) {
		j.Header, j.Body = obj{"kid": nil}, obj{"header": obj{"kid": c.Account}}
	})},
	{says: "a payload that is an object, not base64url, is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Body = obj{"payload": obj{}} })},
	{says: "a JWS without a protected header is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Body = obj{"protected": nil} })},
	{says: "a JWS without a signature is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Body = obj{"signature": nil} })},
	{says: "an empty signature is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Body = obj{"signature": ""} })},
	{says: "the signature of another key is refused", check: readRefused(func(r *rfcRun, _ *Client, j *JWS) { j.Key = NewKey(r.t) })},
	{says: "a signature whose numbers are in DER is refused", check: readRefused(derSignature)},
	{says: "a payload that was changed after it was signed is refused", check: updateRefused(func(_ *rfcRun, _ *Client, j *JWS) {
		j.Body = obj{"payload": base64.RawURLEncoding.EncodeToString([]byte(`{"contact":["mailto:b@example.com"]}`))}
	})},
	{says: "a payload that was taken out after it was signed is refused", check: updateRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Body = obj{"payload": ""} })},
	{says: "a protected header that was changed after it was signed is refused", check: readRefused(changedHeader)},
	{says: "a JWS with neither jwk nor kid is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Header = obj{"kid": nil} })},
	{says: "a JWS with both jwk and kid is refused", check: readRefused(func(_ *rfcRun, c *Client, j *JWS) { j.Header = obj{"jwk": jwkOf(c.Key)} })},
	{says: "a jwk where kid belongs is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.KeyID = "" })},
	{says: "a kid where jwk belongs is refused", check: func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.post(c, c.Directory.NewAccount, r.accountPayload(c)))
	}},
	{says: "a kid that is not the URL of an account is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.KeyID = "1" })},
	{says: "a kid of another server is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.KeyID = "https://ca.example/account/1" })},
	{says: "an account that does not exist is accountDoesNotExist", check: readRefused(func(_ *rfcRun, c *Client, j *JWS) {
		j.KeyID = otherURL(c.Account)
	}, acme.AccountDoesNotExist)},
	{says: "the kid of another account is refused", check: readRefused(func(r *rfcRun, _ *Client, j *JWS) { j.KeyID = r.account().Account })},
	{says: "an extension that must be understood (crit) is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) {
		j.Header = obj{"crit": []string{"exp"}, "exp": 1}
	})},
	{says: "a payload that is not encoded (b64) is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) {
		j.Header = obj{"b64": false, "crit": []string{"b64"}}
	})},
	{says: "members of a JWS and of its header that are not known are ignored", check: func(r *rfcRun) error {
		c := r.account()
		return r.succeeds(r.spoiled(c, c.Account, nil, func(j *JWS) { j.Header, j.Body = obj{"typ": "JOSE", "x": 1}, obj{"x": 1} }))
	}},

	// Algorithms.
	{says: "the algorithm none is badSignatureAlgorithm", check: algorithmRefused("none")},
	{says: "an algorithm of MACs is badSignatureAlgorithm", check: algorithmRefused("HS256")},
	{says: "an algorithm that nobody knows is badSignatureAlgorithm", check: algorithmRefused("XX999")},
	{says: "badSignatureAlgorithm lists the algorithms that are served", check: func(r *rfcRun) error {
		c := r.account()
		resp := r.spoiled(c, c.Account, nil, func(j *JWS) { j.Header = obj{"alg": "HS256"} })
		return r.expect(resp.Problem != nil && len(resp.Problem.Algorithms) > 0, resp, `a member "algorithms" that is not empty`)
	}},
	{says: "a JWS without an algorithm is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Header = obj{"alg": nil} })},
	{says: "an algorithm that is not the key's is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Header = obj{"alg": "RS256"} })},
	{says: "an algorithm of another curve is refused", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Header = obj{"alg": "ES384"} })},
	{says: "the account's public key is no key of a MAC", check: readRefused(macOfPublicKey)},
	{says: "ES256 is served", check: func(r *rfcRun) error { return r.succeeds(r.readAccount(r.account())) }},
	{says: "EdDSA with Ed25519 is served", check: func(r *rfcRun) error {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		r.setUp("key", err)
		c := r.client()
		c.Key = key
		return r.succeeds(r.post(c, c.Directory.NewAccount, r.accountPayload(c)), http.StatusCreated)
	}},
	{says: "RS256, which most clients use, is served", check: func(r *rfcRun) error {
		c := r.client()
		c.Key = r.rsa2048()
		return r.succeeds(r.post(c, c.Directory.NewAccount, r.accountPayload(c)), http.StatusCreated, http.StatusOK)
	}},

	// Keys.
	{says: "an RSA key of 1024 bits is badPublicKey", check: func(r *rfcRun) error {
		c := r.client()
		c.Key = rsaKey(1024)
		return r.refused(r.post(c, c.Directory.NewAccount, r.accountPayload(c)), acme.BadPublicKey)
	}},
	{says: "an RSA key with the exponent 1 is refused", check: keyRefused(obj{"kty": "RSA", "e": "AQ", "n": oddModulus()}, "RS256")},
	{says: "a symmetric key is refused", check: keyRefused(obj{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAA"}, "")},
	{says: "a private key is refused", check: keyRefused(obj{
		"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
	}, "EdDSA")},
	{says: "a point that is not on its curve is refused", check: keyRefused(obj{
		"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "AAAAESIlxSzzUVkgwqyjzBt2Ua3YtB9q0TZDUO3yoIEY",
	}, "")},
	{says: "a key without a type is refused", check: keyRefused(obj{"crv": "P-256", "x": "AA", "y": "AA"}, "")},
	{says: "a key of a curve that nobody knows is refused", check: keyRefused(obj{"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"}, "")},
}

// readAccount reads the account of c.
func (r *rfcRun) readAccount(c *Client) *Response { return r.read(c, c.Account) }

// bodyRefused posts a body that is no JWS.
func bodyRefused(body string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.client()
		return r.refused(r.raw(c, http.MethodPost, c.Directory.NewAccount, "application/jose+json", []byte(body)), acme.Malformed)
	}
}

// mediaTypeRefused posts a good JWS as another media type.
func mediaTypeRefused(contentType string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.account()
		body, err := r.jws(c, c.Account, nil).Encode()
		r.setUp("sign", err)
		return r.refusedWith(r.raw(c, http.MethodPost, c.Account, contentType, body), http.StatusUnsupportedMediaType)
	}
}

// serializationRefused sends a good JWS in another serialization.
func serializationRefused(serialize func(protected, payload, signature string) string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.account()
		body, err := r.jws(c, c.Account, nil).Encode()
		r.setUp("sign", err)
		var flat struct{ Protected, Payload, Signature string }
		r.setUp("take apart", json.Unmarshal(body, &flat))
		serialized := serialize(flat.Protected, flat.Payload, flat.Signature)
		return r.refused(r.raw(c, http.MethodPost, c.Account, "application/jose+json", []byte(serialized)), acme.Malformed)
	}
}

// spoil makes a JWS of an account wrong.
type spoil = func(r *rfcRun, c *Client, j *JWS)

// readRefused reads an account with a JWS that is wrong.
func readRefused(change spoil, types ...acme.ProblemType) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.spoiled(c, c.Account, nil, func(j *JWS) { change(r, c, j) }), types...)
	}
}

// updateRefused is readRefused with a payload.
func updateRefused(change spoil) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.spoiled(c, c.Account, obj{"contact": []string{"mailto:a@example.com"}}, func(j *JWS) { change(r, c, j) }))
	}
}

// algorithmRefused reads an account with the name of another algorithm.
func algorithmRefused(alg string) func(*rfcRun) error {
	return readRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Header = obj{"alg": alg} }, acme.BadSignatureAlgorithm)
}

// keyRefused makes an account with a JWK that no good key stands behind.
func keyRefused(jwk obj, alg string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.client()
		return r.refused(r.spoiled(c, c.Directory.NewAccount, r.accountPayload(c), func(j *JWS) {
			j.Header = obj{"jwk": jwk}
			if alg != "" {
				j.Header["alg"] = alg
			}
		}))
	}
}

// oddModulus returns an RSA modulus of 2048 bits in base64url.
func oddModulus() string {
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	return base64.RawURLEncoding.EncodeToString(n.Add(n, big.NewInt(1)).Bytes())
}

// derSignature writes the signature as X.509 does, not as RFC 7518 §3.4.
func derSignature(r *rfcRun, c *Client, j *JWS) {
	protected, payload := protectedOf(r, j)
	raw, err := sign(c.Key, crypto.SHA256, []byte(protected+"."+payload))
	r.setUp("sign", err)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
	r.setUp("encode", err)
	j.Body = obj{"protected": protected, "payload": payload, "signature": base64.RawURLEncoding.EncodeToString(der)}
}

// changedHeader puts another URL into the header after it was signed.
func changedHeader(r *rfcRun, c *Client, j *JWS) {
	signed := *j
	signed.Header = obj{"x": "changed"}
	protected, _ := protectedOf(r, &signed)
	j.Body = obj{"protected": protected}
}

// protectedOf returns the protected header and the payload of a JWS as they are sent.
func protectedOf(r *rfcRun, j *JWS) (protected, payload string) {
	body, err := j.Encode()
	r.setUp("sign", err)
	var flat struct{ Protected, Payload string }
	r.setUp("take apart", json.Unmarshal(body, &flat))
	return flat.Protected, flat.Payload
}

// macOfPublicKey signs by HS256 with the octets of the public key, which everybody
// can know: a verifier that takes the algorithm from the header falls for it.
func macOfPublicKey(r *rfcRun, c *Client, j *JWS) {
	j.Header = obj{"alg": "HS256"}
	protected, payload := protectedOf(r, j)
	key, ok := c.Key.Public().(*ecdsa.PublicKey)
	if !ok {
		r.setUp("key", fmt.Errorf("a %T is no EC key", c.Key.Public()))
	}
	point, err := key.Bytes()
	r.setUp("key", err)
	j.Body = obj{"protected": protected, "payload": payload, "signature": mac(point, protected+"."+payload)}
}
