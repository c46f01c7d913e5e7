package acmetest

import (
	"errors"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcResponses: a client says that its response is in place (RFC 8555 §7.5.1).
var rfcResponses = []rfcCheck{
	{says: "the answer to a response is the challenge", needs: proofs, check: func(r *rfcRun) error {
		c, _, _, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		resp := r.post(c, ch.URL, obj{})
		return r.expect(resp.Status == 200 && member(resp, "url") == ch.URL && member(resp, "token") == ch.Token, resp, "200 and the challenge")
	}},
	{says: "a challenge links to its authorization", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		resp := r.post(c, ch.URL, obj{})
		target, ok := hasLink(resp, "up")
		return r.expect(ok && target == url, resp, `Link: <%s>;rel="up"`, url)
	}},
	{says: "reading a challenge begins nothing", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.setUp("read the challenge", r.read(c, ch.URL).Err())
		resp := r.read(c, url)
		return r.expect(member(resp, "status") == "pending" && member(r.read(c, ch.URL), "status") == "pending", resp, "pending, both")
	}},
	{says: "a response of the days before RFC 8555 (keyAuthorization) is taken", needs: proofs, check: func(r *rfcRun) error {
		c, _, _, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		return r.succeeds(r.post(c, ch.URL, obj{"keyAuthorization": keyAuthorization(r, c, ch)}))
	}},
	{says: "a response that is no object is refused", needs: proofs, check: func(r *rfcRun) error {
		c, _, _, ch := r.pending(acme.HTTP01)
		return errors.Join(
			r.refused(r.post(c, ch.URL, []byte(`"{}"`)), acme.Malformed),
			r.refused(r.post(c, ch.URL, []byte(`null`)), acme.Malformed),
		)
	}},
	{says: "a challenge is answered by nobody else", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		if err := r.withheld(r.post(r.account(), ch.URL, obj{}), ch.Token); err != nil {
			return err
		}
		resp := r.read(c, url)
		return r.expect(member(resp, "status") == "pending", resp, "an authorization that is pending")
	}},
	{says: "a challenge is shown to nobody else", needs: proofs, check: func(r *rfcRun) error {
		_, _, _, ch := r.pending(acme.HTTP01)
		return r.withheld(r.read(r.account(), ch.URL), ch.Token)
	}},
	{says: "a challenge that there is not is refused", needs: proofs, check: func(r *rfcRun) error {
		c, _, _, ch := r.pending(acme.HTTP01)
		return r.withheld(r.post(c, ch.URL+"0", obj{}), "")
	}},
	{says: "a challenge that was met is valid, with the time", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		r.respond(c, url, ch)
		resp := r.read(c, ch.URL)
		text, _ := member(resp, "validated").(string)
		_, err := time.Parse(time.RFC3339, text)
		return r.expect(err == nil && member(resp, "status") == "valid", resp, `"valid" with "validated"`)
	}},
	{says: "an order is ready when all its authorizations are valid", needs: proofs, check: func(r *rfcRun) error {
		c := r.account()
		o := r.order(c, r.name(), r.name())
		half := *o
		half.Authorizations = o.Authorizations[:1]
		a := r.authorization(c, half.Authorizations[0])
		ch := r.challenge(a, acme.HTTP01)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		r.respond(c, half.Authorizations[0], ch)
		if resp := r.read(c, o.URL); member(resp, "status") != "pending" {
			return r.unlike(resp, "an order that is pending: one of its two authorizations is not valid")
		}
		return expectText(r.prove(c, o).Status == acme.OrderReady, r.sent, "an order that is not ready", "ready")
	}},
	{says: "a response to a challenge that was met changes nothing", needs: proofs, check: func(r *rfcRun) error {
		c := r.account()
		url := r.ready(c, r.name()).Authorizations[0]
		r.post(c, r.challenge(r.authorization(c, url), acme.HTTP01).URL, obj{})
		resp := r.read(c, url)
		return r.expect(member(resp, "status") == "valid", resp, "an authorization that is valid")
	}},
	{says: "a challenge that failed cannot be tried again", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, "wrong")
		r.respond(c, url, ch)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		r.post(c, ch.URL, obj{})
		resp := r.read(c, url)
		return r.expect(member(resp, "status") == "invalid", resp, "an authorization that is invalid")
	}},
	{says: "a challenge that failed makes its authorization and its order invalid", needs: proofs, check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, "wrong")
		r.respond(c, url, ch)
		authorization := member(r.read(c, url), "status")
		resp := r.read(c, o.URL)
		return r.expect(authorization == "invalid" && member(resp, "status") == "invalid", resp, "both invalid; the authorization is %v", authorization)
	}},
	{says: "a challenge that failed says why", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, "wrong")
		r.respond(c, url, ch)
		resp := r.read(c, ch.URL)
		var found Challenge
		return r.expect(resp.Decode(&found) == nil && found.Error != nil && found.Error.Detail != "", resp, "an error with a detail")
	}},
}

// rfcHTTP01: http-01 (RFC 8555 §8.3).
var rfcHTTP01 = []rfcCheck{
	{says: "http-01 is met by the key authorization", needs: proofs, check: http01Is(acme.AuthorizationValid, func(right string) string { return right })},
	{says: "white space behind the key authorization is ignored", needs: proofs, check: http01Is(acme.AuthorizationValid, func(right string) string { return right + " \r\n" })},
	{says: "http-01 is not met by the token alone", needs: proofs, check: http01Is(acme.AuthorizationInvalid, func(right string) string { return right[:22] })},
	{says: "http-01 is not met by text that begins with the key authorization", needs: proofs, check: http01Is(acme.AuthorizationInvalid, func(right string) string { return right + "x" })},
	{says: "http-01 is not met by text that ends with the key authorization", needs: proofs, check: http01Is(acme.AuthorizationInvalid, func(right string) string { return "x" + right })},
	{says: "http-01 is not met by the key authorization in capitals", needs: proofs, check: http01Is(acme.AuthorizationInvalid, strings.ToUpper)},
	{says: "http-01 is not met by the key authorization of another account", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, r.client(), ch))
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "http-01 is not met by an answer of 404", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "http-01 is not offered for a wildcard", needs: proofs, check: func(r *rfcRun) error {
		c := r.account()
		return r.notOffered(c, r.order(c, "*."+r.name()), acme.HTTP01, acme.TLSALPN01)
	}},
}

// http01Is meets http-01 with a body made of the right one.
func http01Is(want acme.AuthorizationStatus, body func(right string) string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, body(keyAuthorization(r, c, ch)))
		return r.becomes(c, url, ch, want)
	}
}

// becomes responds to a challenge and wants a result.
func (r *rfcRun) becomes(c *Client, url string, ch Challenge, want acme.AuthorizationStatus) error {
	found := r.respond(c, url, ch)
	return r.expect(found.Status == want, r.read(c, url), "an authorization that is %s", want)
}

// notOffered wants challenge types not to be among those of an order's authorization.
func (r *rfcRun) notOffered(c *Client, o *Order, types ...acme.ChallengeType) error {
	resp := r.read(c, o.Authorizations[0])
	var a Authorization
	r.setUp("read the authorization", resp.Decode(&a))
	for _, ch := range a.Challenges {
		for _, t := range types {
			if ch.Type == t {
				return r.unlike(resp, "no challenge of type %s", t)
			}
		}
	}
	return nil
}

// rfcDNS01: dns-01 (RFC 8555 §8.4).
var rfcDNS01 = []rfcCheck{
	{says: "dns-01 is met by the digest of the key authorization", needs: dnsProofs, check: dns01Is(acme.AuthorizationValid, func(right string) []string { return []string{right} })},
	{says: "dns-01 is met by one of several records", needs: dnsProofs, check: dns01Is(acme.AuthorizationValid, func(right string) []string {
		return []string{"other", right, "v=spf1 -all"}
	})},
	{says: "dns-01 is not met by another digest", needs: dnsProofs, check: dns01Is(acme.AuthorizationInvalid, func(string) []string { return []string{DNS01Value("other")} })},
	{says: "dns-01 is not met by the digest in capitals", needs: dnsProofs, check: dns01Is(acme.AuthorizationInvalid, func(right string) []string {
		return []string{strings.ToUpper(right)}
	})},
	{says: "dns-01 is not met by a record that begins with the digest", needs: dnsProofs, check: dns01Is(acme.AuthorizationInvalid, func(right string) []string {
		return []string{right + "="}
	})},
	{says: "dns-01 is not met by the key authorization itself", needs: dnsProofs, check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNS01)
		r.DNS.SetTXT("_acme-challenge."+o.Identifiers[0].Value, keyAuthorization(r, c, ch))
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "dns-01 is not met by a record of the name itself", needs: dnsProofs, check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNS01)
		r.DNS.SetTXT(o.Identifiers[0].Value, DNS01Value(keyAuthorization(r, c, ch)))
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "a wildcard is issued for by dns-01", needs: dnsProofs, check: func(r *rfcRun) error {
		c, name := r.account(), "*."+r.name()
		issued := r.issue(c, name)
		return expectText(issued.cert.DNSNames[0] == name, r.sent, "a certificate for "+issued.cert.DNSNames[0], name)
	}},
}

// dnsProofs says why dns-01 cannot be tested.
func dnsProofs(s *rfcSuite) string {
	if s.DNS == nil {
		return "the target has no DNS server"
	}
	return proofs(s)
}

// setDNS01 puts the response to a dns-01 challenge in place.
func (r *rfcRun) setDNS01(name, keyAuthorization string) {
	if r.DNS == nil {
		r.setUp("prove control", errors.New("the target has no DNS server"))
	}
	r.DNS.SetTXT("_acme-challenge."+name, DNS01Value(keyAuthorization))
}

// dns01Is meets dns-01 with records made of the right one.
func dns01Is(want acme.AuthorizationStatus, records func(right string) []string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNS01)
		r.DNS.SetTXT("_acme-challenge."+o.Identifiers[0].Value, records(DNS01Value(keyAuthorization(r, c, ch)))...)
		return r.becomes(c, url, ch, want)
	}
}
