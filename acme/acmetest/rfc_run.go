package acmetest

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcRun is one check in the making. Its methods end the check where they cannot
// do what they are for; what they send last stands in the text of a failure.
type rfcRun struct {
	*rfcSuite
	t    *testing.T
	ctx  context.Context
	sent string
}

// obj is a JSON object.
type obj = map[string]any

// rfcSetUpError says that a check could not be made.
type rfcSetUpError struct{ err error }

// Error implements error.
func (e *rfcSetUpError) Error() string { return e.err.Error() }

// rfcNoOccasion says that a server gave no occasion for what a check is about.
type rfcNoOccasion struct{ why string }

// Error implements error.
func (e *rfcNoOccasion) Error() string { return e.why }

// notExercised is what a check returns that had nothing to look at: it is neither
// passed nor failed.
func (r *rfcRun) notExercised(why string) error { return &rfcNoOccasion{why} }

// do calls a check and returns what it, or its set-up, came to.
func (r *rfcRun) do(check func(*rfcRun) error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *rfcSetUpError:
			err = v
		case *rfcMismatch:
			err = v
		default:
			panic(v)
		}
	}()
	return check(r)
}

// setUp ends the check where err says that it cannot be made.
func (r *rfcRun) setUp(doing string, err error) {
	if err != nil {
		panic(&rfcSetUpError{fmt.Errorf("%s: %w", doing, err)})
	}
}

// client returns a client with a new key and no account.
func (r *rfcRun) client() *Client {
	return &Client{HTTP: r.HTTP, Directory: r.directory, Key: NewKey(r.t)}
}

// account returns a client with a new account.
func (r *rfcRun) account() *Client { return r.accountOf(NewKey(r.t)) }

// accountOf returns a client with a new account that has the key.
func (r *rfcRun) accountOf(key crypto.Signer) *Client {
	c := r.client()
	c.Key = key
	_, err := c.NewAccount(r.ctx, r.accountPayload(c))
	r.setUp("newAccount", err)
	return c
}

// accountPayload returns what newAccount needs here at least.
func (r *rfcRun) accountPayload(c *Client) obj {
	payload := obj{"termsOfServiceAgreed": true}
	if r.directory.Meta.ExternalAccountRequired {
		payload["externalAccountBinding"] = r.binding(c, nil)
	}
	return payload
}

// name returns a DNS name that no other check has.
func (r *rfcRun) name() string {
	return "n" + hex.EncodeToString([]byte(acme.NewToken()))[:24] + ".rfc.example"
}

// post sends a payload as the account of c. A nonce that was refused is not tried
// again: the suite asks for one anew where it has none.
func (r *rfcRun) post(c *Client, url string, payload any) *Response {
	return r.spoiled(c, url, payload, nil)
}

// read sends POST-as-GET.
func (r *rfcRun) read(c *Client, url string) *Response { return r.post(c, url, nil) }

// spoiled sends a payload in a JWS that was changed before it is signed.
func (r *rfcRun) spoiled(c *Client, url string, payload any, change func(*JWS)) *Response {
	jws := r.jws(c, url, payload)
	if change != nil {
		change(jws)
	}
	body, err := jws.Encode()
	r.setUp("sign", err)
	return r.raw(c, http.MethodPost, url, "application/jose+json", body)
}

// jws returns the JWS of a request as it should be, with a nonce.
func (r *rfcRun) jws(c *Client, url string, payload any) *JWS {
	nonce, err := c.Nonce(r.ctx)
	r.setUp("newNonce", err)
	jws := &JWS{Key: c.Key, KeyID: c.Account, URL: url, Nonce: nonce}
	r.setUp("payload", jws.SetPayload(payload))
	return jws
}

// rfcAnswer bounds the wait for one answer.
const rfcAnswer = 15 * time.Second

// raw sends a request as it is. A server that does not answer fails the check.
func (r *rfcRun) raw(c *Client, method, url, contentType string, body []byte) *Response {
	r.sent = describeRequest(method, url, contentType, body)
	ctx, cancel := context.WithTimeout(r.ctx, rfcAnswer)
	defer cancel()
	resp, err := c.Do(ctx, method, url, contentType, body)
	if err != nil {
		panic(&rfcMismatch{sent: r.sent, found: err.Error(), want: "an answer"})
	}
	return resp
}

// get sends an unsigned GET.
func (r *rfcRun) get(url string) *Response { return r.raw(r.client(), http.MethodGet, url, "", nil) }

// order makes an order for DNS names.
func (r *rfcRun) order(c *Client, names ...string) *Order {
	return r.orderFor(c, obj{"identifiers": namesOf(names...)})
}

// orderFor makes the order of a payload.
func (r *rfcRun) orderFor(c *Client, payload obj) *Order {
	resp := r.post(c, c.Directory.NewOrder, payload)
	o, err := resp.order(resp.Header.Get("Location"))
	r.setUp("newOrder", err)
	return o
}

// namesOf returns identifiers of type dns.
func namesOf(names ...string) []obj {
	ids := make([]obj, len(names))
	for i, name := range names {
		ids[i] = obj{"type": "dns", "value": name}
	}
	return ids
}

// prove has every authorization of an order that is pending become valid.
func (r *rfcRun) prove(c *Client, o *Order) *Order {
	for _, url := range o.Authorizations {
		a := r.authorization(c, url)
		if a.Status != acme.AuthorizationPending {
			continue
		}
		t := acme.HTTP01
		if a.Wildcard {
			t = acme.DNS01
		}
		ch := r.challenge(a, t)
		if t == acme.DNS01 {
			r.setDNS01(a.Identifier.Value, keyAuthorization(r, c, ch))
		} else {
			r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		}
		if a = r.respond(c, url, ch); a.Status != acme.AuthorizationValid {
			r.setUp("prove control", fmt.Errorf("the authorization is %s: %+v", a.Status, a.Challenges))
		}
	}
	return r.settleOrder(c, o.URL)
}

// ready returns an order for names that can be finalized.
func (r *rfcRun) ready(c *Client, names ...string) *Order { return r.prove(c, r.order(c, names...)) }

// authorization reads one.
func (r *rfcRun) authorization(c *Client, url string) *Authorization {
	a, err := c.GetAuthorization(r.ctx, url)
	r.setUp("read the authorization", err)
	return a
}

// challenge returns the challenge of a type.
func (r *rfcRun) challenge(a *Authorization, t acme.ChallengeType) Challenge {
	for _, ch := range a.Challenges {
		if ch.Type == t {
			return ch
		}
	}
	r.setUp("choose a challenge", fmt.Errorf("no %s among those offered: %+v", t, a.Challenges))
	return Challenge{}
}

// pending returns an account with the pending authorization of a fresh name, its
// URL, and its challenge of a type.
func (r *rfcRun) pending(t acme.ChallengeType) (c *Client, o *Order, authorization string, ch Challenge) {
	c = r.account()
	o = r.order(c, r.name())
	a := r.authorization(c, o.Authorizations[0])
	return c, o, o.Authorizations[0], r.challenge(a, t)
}

// respond says that the response to a challenge is in place and waits for the result.
func (r *rfcRun) respond(c *Client, authorization string, ch Challenge) *Authorization {
	r.setUp("respond to the challenge", r.post(c, ch.URL, obj{}).Err())
	return r.settle(c, authorization)
}

// settle waits until an authorization is pending no more.
func (r *rfcRun) settle(c *Client, url string) (a *Authorization) {
	r.poll("wait for the authorization", func() bool {
		a = r.authorization(c, url)
		return a.Status != acme.AuthorizationPending
	})
	return a
}

// settleOrder waits until an order is neither pending nor processing.
func (r *rfcRun) settleOrder(c *Client, url string) (o *Order) {
	r.poll("wait for the order", func() bool {
		var err error
		o, err = c.GetOrder(r.ctx, url)
		r.setUp("read the order", err)
		return o.Status != acme.OrderPending && o.Status != "processing"
	})
	return o
}

// rfcPoll is how often the suite asks for what is not there yet.
const rfcPoll = 100 * time.Millisecond

// poll asks until what is waited for is there.
func (r *rfcRun) poll(doing string, done func() bool) {
	for !done() {
		select {
		case <-time.After(rfcPoll):
		case <-r.ctx.Done():
			r.setUp(doing, r.ctx.Err())
		}
	}
}

// keyAuthorization returns that of a challenge and the account of c.
func keyAuthorization(r *rfcRun, c *Client, ch Challenge) string {
	thumbprint, err := thumbprintOf(c)
	r.setUp("thumbprint", err)
	return acme.KeyAuthorization(ch.Token, thumbprint)
}

// thumbprintOf returns the thumbprint of a client's key.
func thumbprintOf(c *Client) (acme.Thumbprint, error) {
	return acme.ThumbprintOf(&jose.JSONWebKey{Key: c.Key.Public()})
}

// rfcIssued is a certificate with what it was made of.
type rfcIssued struct {
	order *Order
	cert  *x509.Certificate
	key   crypto.Signer
}

// issue gets a certificate for DNS names.
func (r *rfcRun) issue(c *Client, names ...string) rfcIssued {
	return r.issueOf(c, r.ready(c, names...), NewKey(r.t), names...)
}

// issueOf gets the certificate of a ready order.
func (r *rfcRun) issueOf(c *Client, o *Order, key crypto.Signer, names ...string) rfcIssued {
	finalized := r.finalize(c, o, NewCSR(r.t, key, names...))
	r.setUp("finalize", finalized.Err())
	o = r.settleOrder(c, o.URL)
	resp := r.read(c, o.Certificate)
	r.setUp("download the certificate", resp.Err())
	block, _ := pem.Decode(resp.Body)
	if block == nil {
		r.setUp("download the certificate", fmt.Errorf("it is not PEM: %s", acme.Excerpt(string(resp.Body))))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	r.setUp("parse the certificate", err)
	return rfcIssued{order: o, cert: cert, key: key}
}

// finalize sends a CSR in DER.
func (r *rfcRun) finalize(c *Client, o *Order, csr []byte) *Response {
	return r.post(c, o.Finalize, obj{"csr": rawCSR(csr)})
}

// jwkOf returns the public key of a signer as a JWK.
func jwkOf(key crypto.Signer) jose.JSONWebKey { return jose.JSONWebKey{Key: key.Public()} }

// member returns a member of the JSON object in an answer, nil where there is none.
func member(resp *Response, name string) any {
	var o map[string]any
	if json.Unmarshal(resp.Body, &o) != nil {
		return nil
	}
	return o[name]
}
