package acmetest

import (
	"context"
	"encoding/base64"
	"net/http"
	"sync"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcNonces: no request is taken twice (RFC 8555 §6.5).
var rfcNonces = []rfcCheck{
	{says: "the answer to a POST carries a nonce", check: func(r *rfcRun) error {
		return r.hasNonce(r.readAccount(r.account()))
	}},
	{says: "a refusal carries a nonce: of a payload", check: func(r *rfcRun) error {
		return r.hasNonce(r.post(r.account(), r.directory.NewOrder, []byte("{")))
	}},
	{says: "a refusal carries a nonce: of what is no JWS", check: func(r *rfcRun) error {
		return r.hasNonce(r.raw(r.client(), http.MethodPost, r.directory.NewOrder, "application/jose+json", []byte("no")))
	}},
	{says: "a refusal carries a nonce: of a media type", check: func(r *rfcRun) error {
		return r.hasNonce(r.raw(r.client(), http.MethodPost, r.directory.NewOrder, "text/plain", []byte("no")))
	}},
	{says: "a refusal carries a nonce: of a signature", check: func(r *rfcRun) error {
		c := r.account()
		return r.hasNonce(r.spoiled(c, c.Account, nil, func(j *JWS) { j.Key = NewKey(r.t) }))
	}},
	{says: "a refusal carries a nonce: of an object that is not there", check: func(r *rfcRun) error {
		c := r.account()
		return r.hasNonce(r.read(c, otherURL(r.order(c, r.name()).URL)))
	}},
	{says: "badNonce carries a nonce that is taken", check: func(r *rfcRun) error {
		c := r.account()
		refused := r.spoiled(c, c.Account, nil, func(j *JWS) { j.Nonce = "AAAAAAAAAAAAAAAAAAAAAA" })
		if err := r.refused(refused, acme.BadNonce); err != nil {
			return err
		}
		return r.succeeds(r.spoiled(c, c.Account, nil, func(j *JWS) { j.Nonce = refused.Header.Get("Replay-Nonce") }))
	}},
	{says: "nonces are base64url", check: func(r *rfcRun) error {
		resp := r.get(r.directory.NewNonce)
		_, err := base64.RawURLEncoding.DecodeString(resp.Header.Get("Replay-Nonce"))
		return r.expect(err == nil, resp, "a Replay-Nonce of the alphabet of base64url, without padding")
	}},
	{says: "no nonce is given twice", check: func(r *rfcRun) error {
		seen := map[string]bool{}
		for range 20 {
			resp := r.get(r.directory.NewNonce)
			if n := resp.Header.Get("Replay-Nonce"); n == "" || seen[n] {
				return r.unlike(resp, "a nonce that was not given before")
			}
			seen[resp.Header.Get("Replay-Nonce")] = true
		}
		return nil
	}},
	{says: "a nonce is taken once", check: func(r *rfcRun) error {
		c := r.account()
		jws := r.jws(c, c.Account, nil)
		for _, ok := range []bool{true, false} {
			resp := r.spoiled(c, c.Account, nil, func(j *JWS) { j.Nonce = jws.Nonce })
			if ok && resp.Status == http.StatusOK {
				continue
			}
			return r.refusedWith(resp, http.StatusBadRequest, acme.BadNonce)
		}
		return nil
	}},
	{says: "of many requests at once with a nonce, one is taken", check: oneOfMany},
	{says: "a nonce that was spent on a refused request is spent", check: func(r *rfcRun) error {
		c := r.account()
		nonce := r.jws(c, c.Account, nil).Nonce
		use := func(j *JWS) { j.Nonce = nonce }
		if err := r.refused(r.spoiled(c, c.Directory.NewOrder, []byte("{"), use), acme.Malformed); err != nil {
			return err
		}
		return r.refused(r.spoiled(c, c.Account, nil, use), acme.BadNonce)
	}},
	{says: "a JWS without a nonce is badNonce", check: nonceRefused(nil, acme.BadNonce)},
	{says: "an empty nonce is refused", check: nonceRefused("", acme.BadNonce, acme.Malformed)},
	{says: "a nonce that nobody gave is badNonce", check: nonceRefused("AAAAAAAAAAAAAAAAAAAAAA", acme.BadNonce)},
	{says: "a nonce that is no string is refused", check: nonceRefused(1, acme.BadNonce, acme.Malformed)},
	{says: "a nonce that is not base64url is refused", check: nonceRefused("über/=", acme.BadNonce, acme.Malformed)},
	{says: "a nonce of which one bit was changed is badNonce", check: readRefused(func(_ *rfcRun, _ *Client, j *JWS) {
		changed := []byte(j.Nonce)
		if changed[2] == 'A' {
			changed[2] = 'B'
		} else {
			changed[2] = 'A'
		}
		j.Nonce = string(changed)
	}, acme.BadNonce)},
	{says: "a nonce in a header of HTTP is not taken for that of the JWS", check: func(r *rfcRun) error {
		c := r.account()
		jws := r.jws(c, c.Account, nil)
		nonce := jws.Nonce
		jws.Header = obj{"nonce": nil}
		body, err := jws.Encode()
		r.setUp("sign", err)
		withHeader := *c.HTTP
		withHeader.Transport = headerTransport{base: c.HTTP.Transport, name: "Replay-Nonce", value: nonce}
		sender := &Client{HTTP: &withHeader}
		return r.refused(r.raw(sender, http.MethodPost, c.Account, "application/jose+json", body))
	}},
}

// headerTransport adds a header to every request.
type headerTransport struct {
	base        http.RoundTripper
	name, value string
}

// RoundTrip implements [http.RoundTripper].
func (t headerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set(t.name, t.value)
	if t.base == nil {
		return http.DefaultTransport.RoundTrip(req)
	}
	return t.base.RoundTrip(req)
}

// hasNonce wants a Replay-Nonce.
func (r *rfcRun) hasNonce(resp *Response) error {
	return r.expect(resp.Header.Get("Replay-Nonce") != "", resp, "a Replay-Nonce")
}

// nonceRefused reads an account with a nonce that is none; nil takes it out.
func nonceRefused(nonce any, types ...acme.ProblemType) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.account()
		resp := r.spoiled(c, c.Account, nil, func(j *JWS) { j.Header = obj{"nonce": nonce} })
		return r.refusedWith(resp, http.StatusBadRequest, types...)
	}
}

// oneOfMany sends a request many times at once.
func oneOfMany(r *rfcRun) error {
	c := r.account()
	body, err := r.jws(c, c.Account, nil).Encode()
	r.setUp("sign", err)
	r.sent = describeRequest(http.MethodPost, c.Account, "application/jose+json", body) + ", ten times at once"
	answers := make([]*Response, 10)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			resp, err := c.Do(context.WithoutCancel(r.ctx), http.MethodPost, c.Account, "application/jose+json", body)
			if err == nil {
				answers[i] = resp
			}
		})
	}
	wg.Wait()
	taken := 0
	for _, resp := range answers {
		switch {
		case resp == nil:
		case resp.Status == http.StatusOK:
			taken++
		default:
			if err := r.refused(resp, acme.BadNonce); err != nil {
				return err
			}
		}
	}
	return r.expect(taken == 1, answers[0], "one success; found %d", taken)
}

// rfcNewNonce: nonces are got by HEAD and GET (RFC 8555 §7.2).
var rfcNewNonce = []rfcCheck{
	{says: "HEAD of newNonce is 200 with a nonce", check: func(r *rfcRun) error {
		resp := r.raw(r.client(), http.MethodHead, r.directory.NewNonce, "", nil)
		return r.expect(resp.Status == http.StatusOK && resp.Header.Get("Replay-Nonce") != "", resp, "200 with a Replay-Nonce")
	}},
	{says: "GET of newNonce is 204 with a nonce", check: func(r *rfcRun) error {
		resp := r.get(r.directory.NewNonce)
		return r.expect(resp.Status == http.StatusNoContent && resp.Header.Get("Replay-Nonce") != "", resp, "204 with a Replay-Nonce")
	}},
	{says: "the answer of newNonce has no body", check: func(r *rfcRun) error {
		resp := r.get(r.directory.NewNonce)
		return r.expect(len(resp.Body) == 0, resp, "no body")
	}},
	{says: "nobody may keep the answer of newNonce", check: func(r *rfcRun) error {
		resp := r.raw(r.client(), http.MethodHead, r.directory.NewNonce, "", nil)
		return r.expect(containsToken(resp.Header.Values("Cache-Control"), "no-store"), resp, "Cache-Control: no-store")
	}},
	{says: "the nonce of newNonce is taken", check: func(r *rfcRun) error {
		c := r.account()
		nonce := r.get(r.directory.NewNonce).Header.Get("Replay-Nonce")
		return r.succeeds(r.spoiled(c, c.Account, nil, func(j *JWS) { j.Nonce = nonce }))
	}},
}
