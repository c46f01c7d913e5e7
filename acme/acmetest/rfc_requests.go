package acmetest

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcTransport: ACME is spoken over HTTPS, in JSON, with base64url (RFC 8555 §6.1).
var rfcTransport = []rfcCheck{
	{says: "plain HTTP gets no answer of the ACME server", check: func(r *rfcRun) error {
		resp := r.get(strings.Replace(r.DirectoryURL, "https://", "http://", 1))
		return r.expect(resp.Status >= 300 && mediaType(resp) != "application/json", resp, "no directory: a redirect or a refusal")
	}},
	{says: "TLS 1.1 is refused (RFC 9325 §3.1.1)", check: func(r *rfcRun) error {
		u, err := url.Parse(r.DirectoryURL)
		r.setUp("directory", err)
		r.sent = "a TLS handshake with version 1.1 at most, to " + u.Host
		dialer := tls.Dialer{Config: &tls.Config{
			MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true, //nolint:gosec // it is to be refused
		}}
		conn, err := dialer.DialContext(r.ctx, "tcp", u.Host)
		if err != nil {
			return nil
		}
		return errors.Join(conn.Close(), &rfcMismatch{r.sent, "the handshake was completed", "an alert"})
	}},
	{says: "padding in the payload's base64url is refused", check: updateRefused(func(r *rfcRun, _ *Client, j *JWS) {
		j.Payload = []byte(`{"contact":["mailto:ab@example.com"]}`) // of a length that padding is for
		_, payload := protectedOf(r, j)
		resign(r, j, "", payload+padding(payload))
	})},
	{says: "padding in the protected header's base64url is refused", check: readRefused(func(r *rfcRun, _ *Client, j *JWS) {
		protected, _ := protectedOf(r, j)
		if padding(protected) == "" {
			j.Header = obj{"x": "x"}
			protected, _ = protectedOf(r, j)
		}
		if padding(protected) == "" {
			j.Header = obj{"x": "xx"}
			protected, _ = protectedOf(r, j)
		}
		resign(r, j, protected+padding(protected), "")
	})},
	{says: "padding in the signature's base64url is refused", check: readRefused(func(r *rfcRun, _ *Client, j *JWS) {
		protected, payload := protectedOf(r, j)
		resign(r, j, protected, payload)
		j.Body["signature"] = j.Body["signature"].(string) + "==" //nolint:forcetypeassert // resign has put it there
	})},
	{says: "base64 of the other alphabet is refused", check: updateRefused(func(r *rfcRun, _ *Client, j *JWS) {
		resign(r, j, "", base64.RawStdEncoding.EncodeToString([]byte(`{"contact":["mailto:a@example.com?>?>~~~"]}`)))
	})},
}

// padding returns what base64 with padding would have at the end of a text.
func padding(text string) string { return strings.Repeat("=", (4-len(text)%4)%4) }

// resign signs a protected header and a payload as they are given: text, in
// base64url or not. What is not given is that of the JWS.
func resign(r *rfcRun, j *JWS, protected, payload string) {
	p, q := protectedOf(r, j)
	if protected == "" {
		protected = p
	}
	if payload == "" {
		payload = q
	}
	_, hash, err := algorithmOf(j.Key)
	r.setUp("sign", err)
	signature, err := sign(j.Key, hash, []byte(protected+"."+payload))
	r.setUp("sign", err)
	j.Body = obj{"protected": protected, "payload": payload, "signature": base64.RawURLEncoding.EncodeToString(signature)}
}

// rfcMethods: what is read is read by POST-as-GET (RFC 8555 §6.3).
var rfcMethods = []rfcCheck{
	{says: "GET of newAccount is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string { return r.directory.NewAccount })},
	{says: "GET of newOrder is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string { return r.directory.NewOrder })},
	{says: "GET of revokeCert is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string { return r.directory.RevokeCert })},
	{says: "GET of keyChange is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string { return r.directory.KeyChange })},
	{says: "GET of an account is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string { return r.account().Account })},
	{says: "GET of an order is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string { return r.order(r.account(), r.name()).URL })},
	{says: "GET of an authorization is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string {
		return r.order(r.account(), r.name()).Authorizations[0]
	})},
	{says: "GET of a challenge is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string {
		c := r.account()
		return r.authorization(c, r.order(c, r.name()).Authorizations[0]).Challenges[0].URL
	})},
	{says: "GET of finalize is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string { return r.order(r.account(), r.name()).Finalize })},
	{says: "GET of a certificate is refused with 405", check: methodRefused(http.MethodGet, func(r *rfcRun) string {
		return r.issue(r.account(), r.name()).order.Certificate
	})},
	{says: "PUT of an account is refused with 405", check: methodRefused(http.MethodPut, func(r *rfcRun) string { return r.account().Account })},
	{says: "DELETE of an account is refused with 405", check: methodRefused(http.MethodDelete, func(r *rfcRun) string { return r.account().Account })},
	{says: "the directory is read by POST-as-GET too", check: func(r *rfcRun) error {
		resp := r.read(r.account(), r.DirectoryURL)
		return r.expect(resp.Status == http.StatusOK && member(resp, "newNonce") == r.directory.NewNonce, resp, "200 and the directory")
	}},
	{says: "newNonce is read by POST-as-GET too", check: func(r *rfcRun) error {
		resp := r.read(r.account(), r.directory.NewNonce)
		return r.expect(resp.Status/100 == 2 && resp.Header.Get("Replay-Nonce") != "", resp, "a success with a Replay-Nonce")
	}},
	{says: "POST-as-GET of the directory must be signed as well", check: func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.spoiled(c, r.DirectoryURL, nil, func(j *JWS) { j.Key = NewKey(r.t) }))
	}},
	{says: "a payload sent to an order is refused", check: func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.post(c, r.order(c, r.name()).URL, obj{}))
	}},
	{says: "a payload sent to a certificate is refused", check: func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.post(c, r.issue(c, r.name()).order.Certificate, obj{}))
	}},
	{says: "newOrder without a payload is refused", check: func(r *rfcRun) error {
		return r.refused(r.read(r.account(), r.directory.NewOrder), acme.Malformed)
	}},
	{says: "newAccount without a payload is refused", check: func(r *rfcRun) error {
		return r.refused(r.read(r.client(), r.directory.NewAccount), acme.Malformed)
	}},
}

// methodRefused sends an unsigned request for a resource.
func methodRefused(method string, resource func(*rfcRun) string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		return r.refusedWith(r.raw(r.client(), method, resource(r), "", nil), http.StatusMethodNotAllowed, acme.Malformed)
	}
}

// rfcURLs: a JWS says which URL it was made for (RFC 8555 §6.4).
var rfcURLs = []rfcCheck{
	{says: "a JWS without a url is refused", check: readRefused(urlOf(func(*rfcRun, *Client) any { return nil }), acme.Malformed, acme.Unauthorized)},
	{says: "a url that is no string is refused", check: readRefused(urlOf(func(*rfcRun, *Client) any { return 1 }), acme.Malformed, acme.Unauthorized)},
	{says: "the url of another resource is unauthorized", check: readRefused(urlOf(func(r *rfcRun, _ *Client) any { return r.directory.NewOrder }), acme.Unauthorized)},
	{says: "the url of another account is unauthorized", check: readRefused(urlOf(func(r *rfcRun, _ *Client) any { return r.account().Account }), acme.Unauthorized)},
	{says: "the url of another host is unauthorized", check: readRefused(urlOf(func(_ *rfcRun, c *Client) any {
		u, _ := url.Parse(c.Account)
		return "https://ca.example" + u.Path
	}), acme.Unauthorized)},
	{says: "a url with another scheme is unauthorized", check: readRefused(urlOf(func(_ *rfcRun, c *Client) any {
		return strings.Replace(c.Account, "https://", "http://", 1)
	}), acme.Unauthorized)},
	{says: "a url with another query is unauthorized", check: readRefused(urlOf(func(_ *rfcRun, c *Client) any { return c.Account + "?x" }), acme.Unauthorized)},
	{says: "a url with a slash more is unauthorized", check: readRefused(urlOf(func(_ *rfcRun, c *Client) any { return c.Account + "/" }), acme.Unauthorized)},
	{says: "a url without scheme and host is unauthorized", check: readRefused(urlOf(func(_ *rfcRun, c *Client) any {
		u, _ := url.Parse(c.Account)
		return u.Path
	}), acme.Unauthorized)},
	{says: "the path of the request counts as it was sent, not as it is understood", check: func(r *rfcRun) error {
		c := r.account()
		u, err := url.Parse(c.Account)
		r.setUp("account", err)
		u.RawPath = strings.Replace(u.Path, "a", "%61", 1) // the same path in other octets
		if u.RawPath == u.Path {
			u.RawQuery = "x"
		}
		body, err := r.jws(c, c.Account, nil).Encode()
		r.setUp("sign", err)
		return r.refused(r.raw(c, http.MethodPost, u.String(), "application/jose+json", body))
	}},
}

// urlOf puts another url into a JWS; nil takes it out.
func urlOf(value func(*rfcRun, *Client) any) spoil {
	return func(r *rfcRun, c *Client, j *JWS) { j.Header = obj{"url": value(r, c)} }
}
