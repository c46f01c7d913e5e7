package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// signatureAlgorithms are the JWS algorithms served (RFC 8555 §6.2): asymmetric
// ones only, and never "none".
var signatureAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// maxBody bounds a request's body: a CSR with a hundred names and an RSA key of
// 4096 bits, twice in base64, is far below.
const maxBody = 64 << 10

// The bounds of RSA account keys, in bits: below, they can be broken; above,
// verifying costs us more than signing costs an attacker.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// authenticate makes a POST's fields of r, or says why the request is refused.
// The order of the checks is that of their cost: nothing is read from the store
// before the form, the URL and the seal of the nonce are right. One round trip.
func (s *Server) authenticate(rt route, r *request, hr *http.Request, w http.ResponseWriter) error {
	if rt.path == "/" { // nothing is there whatever the method
		return nil
	}
	if err := allowMethods(hr, w, rt.methods()...); err != nil {
		return err
	}
	if hr.Method != http.MethodPost {
		return r.enter()
	}
	body, err := readBody(hr, w)
	if err != nil {
		return err
	}
	if err := r.enter(); err != nil {
		return err
	}
	jws, err := parseJWS(body)
	if err != nil {
		return err
	}
	header := &jws.Signatures[0].Protected
	if err := checkURL(header, r.base.url+hr.URL.RequestURI()); err != nil {
		return err
	}
	nonce, err := s.openNonce(r.ctx, header.Nonce)
	if err != nil {
		return err
	}
	if rt.auth == byKey || (rt.auth == byEither && header.JSONWebKey != nil) {
		return s.authenticateKey(r, jws, nonce)
	}
	return s.authenticateAccount(rt, r, jws, nonce)
}

// methods lists the methods that a route takes (RFC 8555 §6.3).
func (rt route) methods() []string {
	switch rt.auth {
	case anyone:
		return []string{http.MethodGet, http.MethodHead}
	case public:
		return []string{http.MethodGet, http.MethodHead, http.MethodPost}
	default:
		return []string{http.MethodPost}
	}
}

// allowMethods refuses every method but those named (RFC 8555 §6.3).
func allowMethods(hr *http.Request, w http.ResponseWriter, methods ...string) error {
	if slices.Contains(methods, hr.Method) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	p := acme.Problemf(acme.Malformed, "method %s: this resource takes %s", acme.Excerpt(hr.Method), strings.Join(methods, " or "))
	p.Status = http.StatusMethodNotAllowed
	return p
}

// readBody reads a POST's body (RFC 8555 §6.2).
func readBody(hr *http.Request, w http.ResponseWriter) ([]byte, error) {
	contentType := hr.Header.Get("Content-Type")
	if mediaType, _, err := mime.ParseMediaType(contentType); err != nil || mediaType != "application/jose+json" {
		p := acme.Problemf(acme.Malformed, `Content-Type is %q; want "application/jose+json"`, acme.Excerpt(contentType))
		p.Status = http.StatusUnsupportedMediaType
		return nil, p
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		p := acme.Problemf(acme.Malformed, "the body is larger than %d octets", maxBody)
		p.Status = http.StatusRequestEntityTooLarge
		return nil, p
	case err != nil:
		return nil, acme.Problemf(acme.Malformed, "the body ended too early")
	}
	return body, nil
}

// parseJWS parses a flattened JWS with one signature and no unprotected header
// (RFC 8555 §6.2).
func parseJWS(body []byte) (*jose.JSONWebSignature, error) {
	jws, err := jose.ParseSignedJSON(string(body), signatureAlgorithms)
	if err != nil {
		return nil, diagnoseJWS(body, err)
	}
	if len(jws.Signatures) != 1 || hasMember(body, "signatures") { // of which go-jose leaves no trace
		return nil, acme.Problemf(acme.Malformed, "the JWS must have the flattened serialization with one signature")
	}
	sig := &jws.Signatures[0]
	if u := sig.Unprotected; u.KeyID != "" || u.JSONWebKey != nil || u.Algorithm != "" || u.Nonce != "" || len(u.ExtraHeaders) > 0 || hasMember(body, "header") {
		return nil, acme.Problemf(acme.Malformed, "the JWS must not have an unprotected header")
	}
	p := &sig.Protected
	if _, ok := p.ExtraHeaders["crit"]; ok {
		return nil, acme.Problemf(acme.Malformed, `the JWS has "crit"; no extension of JWS is understood here`)
	}
	if _, ok := p.ExtraHeaders["b64"]; ok {
		return nil, acme.Problemf(acme.Malformed, `the JWS has "b64"; the payload must be in base64url`)
	}
	if (p.JSONWebKey == nil) == (p.KeyID == "") {
		return nil, acme.Problemf(acme.Malformed, `the JWS must have exactly one of "jwk" and "kid"`)
	}
	return jws, nil
}

// hasMember reports whether a JWS has a member of a name. No value of a JWS has it in
// quotes, so that it is enough to look for that, unless names may be written with
// escapes.
func hasMember(jws []byte, name string) bool {
	if bytes.Contains(jws, []byte(`"`+name+`"`)) {
		return true
	}
	if !bytes.Contains(jws, []byte(`\`)) {
		return false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(jws, &members) != nil {
		return true // go-jose read something else in it than we do
	}
	_, found := members[name]
	return found
}

// diagnoseJWS says what is wrong with a JWS that did not parse.
func diagnoseJWS(body []byte, cause error) *acme.Problem {
	var flattened struct{ Protected string }
	var header struct {
		Algorithm string          `json:"alg"`
		Key       json.RawMessage `json:"jwk"`
	}
	if json.Unmarshal(body, &flattened) == nil {
		if raw, err := base64.RawURLEncoding.DecodeString(flattened.Protected); err == nil {
			_ = json.Unmarshal(raw, &header) // what it does not say is left empty
		}
	}
	if header.Algorithm != "" && !algorithmServed(header.Algorithm) {
		return badAlgorithm(header.Algorithm)
	}
	if len(header.Key) > 0 {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(header.Key); err != nil || !key.IsPublic() || !key.Valid() {
			return acme.Problemf(acme.BadPublicKey, "the jwk is not a public RSA, EC or Ed25519 key")
		}
	}
	return acme.Problemf(acme.Malformed, "the body is not a JWS in the flattened JSON serialization: %s",
		acme.Excerpt(strings.TrimPrefix(cause.Error(), "go-jose/go-jose: ")))
}

// algorithmServed reports whether alg is one of ours.
func algorithmServed(alg string) bool {
	for _, a := range signatureAlgorithms {
		if string(a) == alg {
			return true
		}
	}
	return false
}

// badAlgorithm returns the problem with the list that RFC 8555 §6.2 asks for.
func badAlgorithm(alg string) *acme.Problem {
	p := acme.Problemf(acme.BadSignatureAlgorithm, "JWS algorithm %q is not served", acme.Excerpt(alg))
	for _, a := range signatureAlgorithms {
		p.Algorithms = append(p.Algorithms, string(a))
	}
	return p
}

// checkURL checks that the JWS was made for this request (RFC 8555 §6.4).
func checkURL(h *jose.Header, want string) error {
	got, _ := h.ExtraHeaders["url"].(string)
	if got != want {
		return unauthorized(`the JWS was made for the url %q; this request's is %q`, acme.Excerpt(got), acme.Excerpt(want))
	}
	return nil
}

// unauthorized returns the problem for a request that proves too little, as 401.
func unauthorized(format string, args ...any) *acme.Problem {
	p := acme.Problemf(acme.Unauthorized, format, args...)
	p.Status = http.StatusUnauthorized
	return p
}

// openNonce opens the nonce. One whose key is unknown makes us ask for the keys:
// they may have been made anew by another replica or after a crash of the database.
func (s *Server) openNonce(ctx context.Context, text string) (acme.Nonce, error) {
	if text == "" {
		return acme.Nonce{}, acme.Problemf(acme.BadNonce, `the JWS has no "nonce"; the answer's Replay-Nonce is a fresh one`)
	}
	n, err := s.config.Nonces.Open(text)
	if err != nil {
		return acme.Nonce{}, s.nonceProblem(ctx, err)
	}
	return n, nil
}

// nonceProblem returns what a client is told of a refused nonce; other errors as
// they are.
func (s *Server) nonceProblem(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, acme.ErrNonceKeyGone):
		if err := s.config.Nonces.Refresh(ctx); err != nil {
			return err
		}
		fallthrough
	case errors.Is(err, acme.ErrNonceUsed):
		return acme.Problemf(acme.BadNonce, "the nonce was used before or has expired; the answer's Replay-Nonce is a fresh one")
	case errors.Is(err, acme.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	default:
		return acme.Problemf(acme.BadNonce, "the nonce is not one of this server; the answer's Replay-Nonce is a fresh one")
	}
}

// authenticateKey verifies a JWS with the key that it carries (RFC 8555 §6.2).
func (s *Server) authenticateKey(r *request, jws *jose.JSONWebSignature, nonce acme.Nonce) error {
	key := jws.Signatures[0].Protected.JSONWebKey
	if key == nil {
		return acme.Problemf(acme.Malformed, `this resource takes a JWS with "jwk", not "kid"`)
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if err := r.verify(jws, bare(key)); err != nil {
		return err
	}
	if err := s.config.Store.RedeemNonce(r.ctx, nonce); err != nil {
		return s.nonceProblem(r.ctx, err)
	}
	return nil
}

// verify checks the signature and takes the payload.
func (r *request) verify(jws *jose.JSONWebSignature, key *jose.JSONWebKey) error {
	payload, err := jws.Verify(key)
	if err != nil {
		return acme.Problemf(acme.Malformed, "the signature does not verify with the account's key")
	}
	r.payload, r.key = payload, key
	return nil
}

// bare returns the key without what a client may have written beside it (kid, x5c,
// and others): it is kept with the account, and remembered.
func bare(key *jose.JSONWebKey) *jose.JSONWebKey { return &jose.JSONWebKey{Key: key.Key} }

// checkKey refuses account keys that are not safe (RFC 8555 §6.7 badPublicKey).
// go-jose has refused points that are not on their curve.
func checkKey(key *jose.JSONWebKey) error {
	if !key.IsPublic() || !key.Valid() {
		return acme.Problemf(acme.BadPublicKey, "the jwk is not a public key")
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits || k.N.Bit(0) == 0 {
			return acme.Problemf(acme.BadPublicKey, "RSA keys have %d to %d bits here; this one has %d", minRSABits, maxRSABits, n)
		}
		if k.E < 3 || k.E%2 == 0 {
			return acme.Problemf(acme.BadPublicKey, "the RSA exponent %d is not an odd number above 1", k.E)
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return acme.Problemf(acme.BadPublicKey, "the jwk is not an RSA, EC or Ed25519 key")
	}
	return nil
}
