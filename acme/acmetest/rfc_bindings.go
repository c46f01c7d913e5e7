package acmetest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcBindings: accounts are bound to those of another kind (RFC 8555 §7.3.4).
var rfcBindings = []rfcCheck{
	{says: "an account is bound by a good binding", needs: externalAccounts, check: func(r *rfcRun) error {
		c := r.client()
		return r.succeeds(r.bind(c, r.binding(c, nil)), http.StatusCreated)
	}},
	{says: "the account shows the binding that it was made with", needs: externalAccounts, check: func(r *rfcRun) error {
		c := r.client()
		binding := r.binding(c, nil)
		resp := r.bind(c, binding)
		return r.expect(reflect.DeepEqual(member(resp, "externalAccountBinding"), any(binding)), resp, `"externalAccountBinding" as it was sent`)
	}},
	{says: "an account is found again with its binding", needs: externalAccounts, check: func(r *rfcRun) error {
		c := r.client()
		binding := r.binding(c, nil)
		first := r.bind(c, binding)
		resp := r.bind(c, binding)
		return r.expect(resp.Status == http.StatusOK && resp.Header.Get("Location") == first.Header.Get("Location"), resp, "200 with the first Location")
	}},
	{says: "where a binding is required, an account without is externalAccountRequired", needs: bindingRequired, check: func(r *rfcRun) error {
		c := r.client()
		return r.refused(r.post(c, c.Directory.NewAccount, obj{"termsOfServiceAgreed": true}), acme.ExternalAccountRequired)
	}},
	{says: "where a binding is required, null is none", needs: bindingRequired, check: func(r *rfcRun) error {
		c := r.client()
		return r.refused(r.post(c, c.Directory.NewAccount, []byte(`{"termsOfServiceAgreed":true,"externalAccountBinding":null}`)))
	}},
	{says: "where a binding is required, onlyReturnExisting needs none", needs: bindingRequired, check: func(r *rfcRun) error {
		c := r.client()
		return r.refused(r.post(c, c.Directory.NewAccount, obj{"onlyReturnExisting": true}), acme.AccountDoesNotExist)
	}},
	{says: "a binding by another MAC key is refused", needs: externalAccounts, check: bindingRefused(func(_ *rfcRun, b *rfcBinding) { b.mac = []byte("another key of thirty-two octets") })},
	{says: "a binding of a key identifier that nobody has is refused", needs: externalAccounts, check: bindingRefused(header("kid", "nobody"))},
	{says: "a binding without a key identifier is refused", needs: externalAccounts, check: bindingRefused(header("kid", nil))},
	{says: "a binding with a nonce is refused", needs: externalAccounts, check: bindingRefused(header("nonce", "AAAAAAAAAAAAAAAAAAAAAA"))},
	{says: "a binding for another url is refused", needs: externalAccounts, check: bindingRefused(header("url", "https://ca.example/new-account"))},
	{says: "a binding without a url is refused", needs: externalAccounts, check: bindingRefused(header("url", nil))},
	{says: "a binding without an algorithm is refused", needs: externalAccounts, check: bindingRefused(header("alg", nil))},
	{says: "a binding by the algorithm none is refused", needs: externalAccounts, check: bindingRefused(func(_ *rfcRun, b *rfcBinding) {
		b.header["alg"], b.unsigned = "none", true
	})},
	{says: "a binding that is signed by the account's key is refused", needs: externalAccounts, check: bindingRefused(header("alg", "ES256"))},
	{says: "a binding of another account's key is refused", needs: externalAccounts, check: bindingRefused(func(r *rfcRun, b *rfcBinding) {
		b.payload = mustMarshal(r, jwkOf(NewKey(r.t)))
	})},
	{says: "a binding of no key is refused", needs: externalAccounts, check: bindingRefused(func(_ *rfcRun, b *rfcBinding) { b.payload = []byte("{}") })},
	{says: "a binding with an empty signature is refused", needs: externalAccounts, check: bindingRefused(func(_ *rfcRun, b *rfcBinding) { b.unsigned = true })},
	{says: "a binding with an unprotected header is refused", needs: externalAccounts, check: func(r *rfcRun) error {
		c := r.client()
		binding := r.binding(c, nil)
		binding["header"] = obj{}
		return r.refused(r.bind(c, binding), acme.Malformed)
	}},
	{says: "a binding in the general serialization is refused", needs: externalAccounts, check: func(r *rfcRun) error {
		c := r.client()
		b := r.binding(c, nil)
		one := obj{"protected": b["protected"], "signature": b["signature"]}
		return r.refused(r.bind(c, obj{"payload": b["payload"], "signatures": []obj{one}}), acme.Malformed)
	}},
	{says: "a binding that is no JWS is refused", needs: externalAccounts, check: func(r *rfcRun) error {
		return r.refused(r.newAccount(r.client(), obj{"externalAccountBinding": obj{"kid": "x"}}))
	}},
	{says: "a binding that is no object is refused", needs: externalAccounts, check: func(r *rfcRun) error {
		return r.refused(r.newAccount(r.client(), obj{"externalAccountBinding": "x"}))
	}},
}

// externalAccounts says why bindings cannot be tested.
func externalAccounts(s *rfcSuite) string {
	if len(s.ExternalAccounts) == 0 {
		return "the target has no keys of external accounts"
	}
	return ""
}

// bindingRequired says why it cannot be tested that bindings are required.
func bindingRequired(s *rfcSuite) string {
	if !s.directory.Meta.ExternalAccountRequired {
		return "the directory requires no external account"
	}
	return ""
}

// rfcBinding is a binding in the making.
type rfcBinding struct {
	header   obj
	payload  []byte
	mac      []byte
	unsigned bool
}

// binding returns a binding of the key of c, which change may spoil.
func (r *rfcRun) binding(c *Client, change func(*rfcRun, *rfcBinding)) obj {
	kid := slices.Min(slices.Collect(maps.Keys(r.ExternalAccounts)))
	b := &rfcBinding{
		header:  obj{"alg": "HS256", "kid": kid, "url": c.Directory.NewAccount},
		payload: mustMarshal(r, jwkOf(c.Key)), mac: r.ExternalAccounts[kid],
	}
	if change != nil {
		change(r, b)
	}
	protected := base64.RawURLEncoding.EncodeToString(mustMarshal(r, b.header))
	payload := base64.RawURLEncoding.EncodeToString(b.payload)
	signature := ""
	if !b.unsigned {
		signature = mac(b.mac, protected+"."+payload)
	}
	return obj{"protected": protected, "payload": payload, "signature": signature}
}

// bind makes an account with a binding.
func (r *rfcRun) bind(c *Client, binding obj) *Response {
	return r.post(c, c.Directory.NewAccount, obj{"termsOfServiceAgreed": true, "externalAccountBinding": binding})
}

// bindingRefused makes an account with a binding that is wrong.
func bindingRefused(change func(*rfcRun, *rfcBinding)) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.client()
		return r.refused(r.bind(c, r.binding(c, change)))
	}
}

// header puts a member into the header of a binding; nil takes it out.
func header(name string, value any) func(*rfcRun, *rfcBinding) {
	return func(_ *rfcRun, b *rfcBinding) { merge(b.header, obj{name: value}) }
}

// mac returns the HMAC with SHA-256 of a text in base64url.
func mac(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// mustMarshal encodes a value of the suite.
func mustMarshal(r *rfcRun, v any) []byte {
	b, err := json.Marshal(v)
	r.setUp("encode", err)
	return b
}
