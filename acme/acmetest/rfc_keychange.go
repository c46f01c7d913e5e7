package acmetest

import (
	"crypto"
	"errors"
	"net/http"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcKeyChange: an account gets a new key (RFC 8555 §7.3.5).
var rfcKeyChange = []rfcCheck{
	{says: "an account gets a new key", check: func(r *rfcRun) error {
		c, next := r.account(), NewKey(r.t)
		if err := r.succeeds(r.changeKey(c, next, nil)); err != nil {
			return err
		}
		c.Key = next
		return r.succeeds(r.readAccount(c))
	}},
	{says: "the old key is refused after that", check: func(r *rfcRun) error {
		c := r.account()
		r.setUp("keyChange", r.changeKey(c, NewKey(r.t), nil).Err())
		return r.refused(r.readAccount(c))
	}},
	{says: "the account has the same URL after that", check: func(r *rfcRun) error {
		c, next := r.account(), NewKey(r.t)
		r.setUp("keyChange", r.changeKey(c, next, nil).Err())
		found := &Client{HTTP: c.HTTP, Directory: c.Directory, Key: next}
		resp := r.post(found, c.Directory.NewAccount, obj{"onlyReturnExisting": true})
		return r.expect(resp.Header.Get("Location") == c.Account, resp, "Location %s", c.Account)
	}},
	{says: "the old key is free after that", check: func(r *rfcRun) error {
		c := r.account()
		r.setUp("keyChange", r.changeKey(c, NewKey(r.t), nil).Err())
		found := &Client{HTTP: c.HTTP, Directory: c.Directory, Key: c.Key}
		return r.refused(r.post(found, c.Directory.NewAccount, obj{"onlyReturnExisting": true}), acme.AccountDoesNotExist)
	}},
	{says: "the orders of the account stay its own", check: func(r *rfcRun) error {
		c, next := r.account(), NewKey(r.t)
		o := r.order(c, r.name())
		r.setUp("keyChange", r.changeKey(c, next, nil).Err())
		c.Key = next
		return r.succeeds(r.read(c, o.URL))
	}},
	{says: "the key of another account is 409 with its URL", check: func(r *rfcRun) error {
		c, other := r.account(), r.account()
		resp := r.changeKey(c, other.Key, nil)
		return r.expect(resp.Status == http.StatusConflict && resp.Header.Get("Location") == other.Account, resp, "409 with Location %s", other.Account)
	}},
	{says: "a conflict of keys is a problem document", check: func(r *rfcRun) error {
		return r.refusedWith(r.changeKey(r.account(), r.account().Key, nil), http.StatusConflict)
	}},
	{says: "the key that the account has already is refused", check: func(r *rfcRun) error {
		c := r.account()
		return r.withheld(r.changeKey(c, c.Key, nil), "")
	}},
	{says: "an inner JWS without jwk is refused", check: keyChangeRefused(func(_ *rfcRun, c *Client, j *JWS) { j.KeyID = c.Account })},
	{says: "an inner JWS that another key signed is refused", check: keyChangeRefused(func(r *rfcRun, _ *Client, j *JWS) {
		j.Header["jwk"] = jwkOf(NewKey(r.t))
	})},
	{says: "an inner JWS that the old key signed is refused", check: keyChangeRefused(func(_ *rfcRun, c *Client, j *JWS) {
		j.Header["jwk"], j.Key = jwkOf(j.Key), c.Key
	})},
	{says: "an inner JWS for another url is refused", check: keyChangeRefused(func(r *rfcRun, _ *Client, j *JWS) { j.URL = r.directory.NewOrder })},
	{says: "an inner JWS without a url is refused", check: keyChangeRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Header["url"] = nil })},
	{says: "an inner JWS with a nonce is refused", check: keyChangeRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Header["nonce"] = "AAAA" })},
	{says: "an inner JWS with an unprotected header is refused", check: keyChangeRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Body = obj{"header": obj{"x": 1}} })},
	{says: "an inner JWS by the algorithm none is refused", check: keyChangeRefused(func(_ *rfcRun, _ *Client, j *JWS) { j.Header["alg"] = "none" })},
	{says: "an inner JWS for another account is refused", check: keyChangeRefused(func(r *rfcRun, c *Client, j *JWS) {
		r.setUp("payload", j.SetPayload(obj{"account": r.account().Account, "oldKey": jwkOf(c.Key)}))
	})},
	{says: "an inner JWS for no account is refused", check: keyChangeRefused(func(r *rfcRun, c *Client, j *JWS) {
		r.setUp("payload", j.SetPayload(obj{"oldKey": jwkOf(c.Key)}))
	})},
	{says: "an inner JWS with another old key is refused", check: keyChangeRefused(func(r *rfcRun, c *Client, j *JWS) {
		r.setUp("payload", j.SetPayload(obj{"account": c.Account, "oldKey": jwkOf(NewKey(r.t))}))
	})},
	{says: "an inner JWS without the old key is refused", check: keyChangeRefused(func(r *rfcRun, c *Client, j *JWS) {
		r.setUp("payload", j.SetPayload(obj{"account": c.Account}))
	})},
	{says: "an RSA key of 1024 bits is refused as a new one", check: func(r *rfcRun) error {
		return r.refused(r.changeKey(r.account(), rsaKey(1024), nil))
	}},
	{says: "a key change whose payload is no JWS is refused", check: func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.post(c, c.Directory.KeyChange, obj{"account": c.Account, "oldKey": jwkOf(c.Key)}), acme.Malformed)
	}},
	{says: "a key change that no account signed is refused", check: func(r *rfcRun) error {
		c := r.account()
		inner := r.innerJWS(c, NewKey(r.t), nil)
		return r.refused(r.spoiled(c, c.Directory.KeyChange, inner, func(j *JWS) { j.KeyID = "" }))
	}},
	{says: "a key change that was refused changes nothing", check: func(r *rfcRun) error {
		c := r.account()
		refused := r.changeKey(c, NewKey(r.t), func(j *JWS) { j.Header["nonce"] = "AAAA" })
		return errors.Join(r.refused(refused), r.succeeds(r.readAccount(c)))
	}},
}

// innerJWS returns the payload of a keyChange; change may spoil it.
func (r *rfcRun) innerJWS(c *Client, next crypto.Signer, change func(*JWS)) []byte {
	inner := &JWS{Key: next, URL: c.Directory.KeyChange, Header: obj{"nonce": nil}}
	r.setUp("payload", inner.SetPayload(obj{"account": c.Account, "oldKey": jwkOf(c.Key)}))
	if change != nil {
		change(inner)
	}
	body, err := inner.Encode()
	r.setUp("sign", err)
	return body
}

// changeKey asks for a new key of an account.
func (r *rfcRun) changeKey(c *Client, next crypto.Signer, change func(*JWS)) *Response {
	return r.post(c, c.Directory.KeyChange, r.innerJWS(c, next, change))
}

// keyChangeRefused asks for a new key by an inner JWS that is wrong.
func keyChangeRefused(change spoil) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.changeKey(c, NewKey(r.t), func(j *JWS) { change(r, c, j) }))
	}
}
