package acmetest

import (
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcNewAuthz: authorizations are made before an order (RFC 8555 §7.4.1).
var rfcNewAuthz = []rfcCheck{
	{says: "a new authorization is 201 with its URL", needs: newAuthz, check: func(r *rfcRun) error {
		resp := r.newAuthz(obj{"identifier": obj{"type": "dns", "value": r.name()}})
		return r.expect(resp.Status == http.StatusCreated && !notHTTPS(resp.Header.Get("Location")), resp, "201 with a Location")
	}},
	{says: "a new authorization is for the identifier that was asked for", needs: newAuthz, check: func(r *rfcRun) error {
		name := r.name()
		resp := r.newAuthz(obj{"identifier": obj{"type": "dns", "value": name}})
		var a Authorization
		return r.expect(resp.Decode(&a) == nil && a.Identifier.Value == name && len(a.Challenges) > 0, resp, "an authorization for %s", name)
	}},
	{says: "a wildcard is not authorized before an order", needs: newAuthz, check: newAuthzRefused(obj{"identifier": obj{"type": "dns", "value": "*.rfc.example"}})},
	{says: "a new authorization for no identifier is refused", needs: newAuthz, check: newAuthzRefused(obj{})},
	{says: "a new authorization for a name that is none is refused", needs: newAuthz, check: newAuthzRefused(obj{"identifier": obj{"type": "dns", "value": "a b"}})},
	{says: "a new authorization for a type that is not served is unsupportedIdentifier", needs: newAuthz, check: newAuthzRefused(
		obj{"identifier": obj{"type": "email", "value": "a@rfc.example"}}, acme.UnsupportedIdentifier)},
	{says: "a new authorization without a payload is refused", needs: newAuthz, check: newAuthzRefused(nil)},
}

// newAuthz says why pre-authorization cannot be tested.
func newAuthz(s *rfcSuite) string {
	if s.directory.NewAuthz == "" {
		return "the directory has no newAuthz"
	}
	return ""
}

// newAuthz sends newAuthz as a new account.
func (r *rfcRun) newAuthz(payload any) *Response {
	c := r.account()
	return r.post(c, c.Directory.NewAuthz, payload)
}

// newAuthzRefused asks for an authorization that cannot be.
func newAuthzRefused(payload any, types ...acme.ProblemType) func(*rfcRun) error {
	return func(r *rfcRun) error { return r.refused(r.newAuthz(payload), types...) }
}

// rfcAuthorizations: authorizations are read (RFC 8555 §7.1.4, §7.5).
var rfcAuthorizations = []rfcCheck{
	{says: "an authorization has what it must: identifier, status, challenges", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		resp := r.read(c, r.order(c, name).Authorizations[0])
		var a Authorization
		ok := resp.Decode(&a) == nil && a.Identifier == acme.Identifier{Type: acme.DNS, Value: name} && a.Status != "" && len(a.Challenges) > 0
		return r.expect(ok, resp, "an authorization for %s with challenges", name)
	}},
	{says: "a pending authorization says when it expires", needs: proofs, check: func(r *rfcRun) error {
		c := r.account()
		resp := r.read(c, r.order(c, r.name()).Authorizations[0])
		text, _ := member(resp, "expires").(string)
		expires, err := time.Parse(time.RFC3339, text)
		return r.expect(err == nil && expires.After(time.Now()), resp, "expires, in the future")
	}},
	{says: "each challenge has what it must: type, URL, status", check: func(r *rfcRun) error {
		c := r.account()
		resp := r.read(c, r.order(c, r.name()).Authorizations[0])
		var a Authorization
		ok := resp.Decode(&a) == nil
		seen := map[string]bool{}
		for _, ch := range a.Challenges {
			ok = ok && ch.Type != "" && ch.Status != "" && !notHTTPS(ch.URL) && !seen[ch.URL]
			seen[ch.URL] = true
		}
		return r.expect(ok, resp, "challenges with a type, a status and a URL of their own")
	}},
	{says: "the authorization of a wildcard says so, and has no asterisk", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		resp := r.read(c, r.order(c, "*."+name).Authorizations[0])
		var a Authorization
		return r.expect(resp.Decode(&a) == nil && a.Wildcard && a.Identifier.Value == name, resp, `"wildcard":true for %s`, name)
	}},
	{says: "the authorization of a name does not say that it is a wildcard", check: func(r *rfcRun) error {
		c := r.account()
		resp := r.read(c, r.order(c, r.name()).Authorizations[0])
		return r.expect(member(resp, "wildcard") == nil, resp, "no member wildcard")
	}},
	{says: "a wildcard and its name have authorizations of their own", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.order(c, name, "*."+name)
		a, b := r.authorization(c, o.Authorizations[0]), r.authorization(c, o.Authorizations[1])
		return r.expect(a.Wildcard != b.Wildcard, r.read(c, o.URL), "one authorization that is a wildcard's and one that is not")
	}},
	{says: "a valid authorization has the challenge that was met, and no other", check: func(r *rfcRun) error {
		c := r.account()
		return r.hasOnly(r.read(c, r.ready(c, r.name()).Authorizations[0]), acme.ChallengeValid)
	}},
	{says: "an invalid authorization has the challenge that failed, and no other", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, "wrong")
		r.respond(c, url, ch)
		return r.hasOnly(r.read(c, url), acme.ChallengeInvalid)
	}},
	{says: "an authorization is shown to nobody else", check: func(r *rfcRun) error {
		name := r.name()
		return r.withheld(r.read(r.account(), r.order(r.account(), name).Authorizations[0]), name)
	}},
	{says: "an authorization that there is not is 404", check: func(r *rfcRun) error {
		c := r.account()
		return r.refusedWith(r.read(c, otherURL(r.order(c, r.name()).Authorizations[0])), http.StatusNotFound)
	}},
}

// hasOnly wants an authorization to have one challenge, of a status.
func (r *rfcRun) hasOnly(resp *Response, status acme.ChallengeStatus) error {
	var a Authorization
	ok := resp.Decode(&a) == nil && len(a.Challenges) == 1 && a.Challenges[0].Status == status
	return r.expect(ok, resp, "one challenge, which is %s", status)
}

// rfcAuthzDeactivation: authorizations are given up (RFC 8555 §7.5.2).
var rfcAuthzDeactivation = []rfcCheck{
	{says: "an authorization is deactivated by its owner", check: func(r *rfcRun) error {
		c := r.account()
		resp := r.post(c, r.ready(c, r.name()).Authorizations[0], obj{"status": "deactivated"})
		return r.expect(resp.Status == http.StatusOK && member(resp, "status") == "deactivated", resp, "200, deactivated")
	}},
	{says: "a pending authorization is deactivated too", needs: proofs, check: func(r *rfcRun) error {
		c := r.account()
		resp := r.post(c, r.order(c, r.name()).Authorizations[0], obj{"status": "deactivated"})
		return r.expect(resp.Status == http.StatusOK && member(resp, "status") == "deactivated", resp, "200, deactivated")
	}},
	{says: "an order whose authorization was deactivated is invalid (§7.1.6)", check: func(r *rfcRun) error {
		c := r.account()
		o := r.ready(c, r.name())
		r.setUp("deactivate", r.post(c, o.Authorizations[0], obj{"status": "deactivated"}).Err())
		resp := r.read(c, o.URL)
		return r.expect(member(resp, "status") == "invalid", resp, "an invalid order")
	}},
	{says: "an order whose authorization was deactivated is not finalized", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.ready(c, name)
		r.setUp("deactivate", r.post(c, o.Authorizations[0], obj{"status": "deactivated"}).Err())
		return r.refused(r.finalize(c, o, NewCSR(r.t, NewKey(r.t), name)))
	}},
	{says: "a challenge of a deactivated authorization is not begun", needs: proofs, check: func(r *rfcRun) error {
		c, _, url, ch := r.pending(acme.HTTP01)
		r.HTTP01.Set(ch.Token, keyAuthorization(r, c, ch))
		r.setUp("deactivate", r.post(c, url, obj{"status": "deactivated"}).Err())
		r.post(c, ch.URL, obj{})
		resp := r.read(c, url)
		return r.expect(member(resp, "status") == "deactivated", resp, "an authorization that is deactivated")
	}},
	{says: "an authorization is deactivated by nobody else", check: func(r *rfcRun) error {
		c := r.account()
		url := r.ready(c, r.name()).Authorizations[0]
		if err := r.withheld(r.post(r.account(), url, obj{"status": "deactivated"}), ""); err != nil {
			return err
		}
		resp := r.read(c, url)
		return r.expect(member(resp, "status") == "valid", resp, "an authorization that is valid")
	}},
	{says: "a client does not make its authorization valid", needs: proofs, check: func(r *rfcRun) error {
		c := r.account()
		url := r.order(c, r.name()).Authorizations[0]
		if err := r.refused(r.post(c, url, obj{"status": "valid"})); err != nil {
			return err
		}
		resp := r.read(c, url)
		return r.expect(member(resp, "status") == "pending", resp, "an authorization that is pending")
	}},
	{says: "a deactivated authorization does not become pending again", check: func(r *rfcRun) error {
		c := r.account()
		url := r.ready(c, r.name()).Authorizations[0]
		r.setUp("deactivate", r.post(c, url, obj{"status": "deactivated"}).Err())
		return r.refused(r.post(c, url, obj{"status": "pending"}))
	}},
}

// rfcTokens: the tokens of challenges (RFC 8555 §8.1).
var rfcTokens = []rfcCheck{
	{says: "a token is base64url", needs: proofs, check: func(r *rfcRun) error {
		_, _, _, ch := r.pending(acme.HTTP01)
		_, err := base64.RawURLEncoding.DecodeString(ch.Token)
		return expectText(err == nil, r.sent, "the token "+ch.Token, "the alphabet of base64url, without padding")
	}},
	{says: "a token has 128 bits of entropy at least", needs: proofs, check: func(r *rfcRun) error {
		const characters = 22 // of six bits each
		_, _, _, ch := r.pending(acme.HTTP01)
		return expectText(len(ch.Token) >= characters, r.sent, "the token "+ch.Token, "22 characters at least")
	}},
	{says: "authorizations have tokens of their own", needs: proofs, check: func(r *rfcRun) error {
		_, _, _, a := r.pending(acme.HTTP01)
		_, _, _, b := r.pending(acme.HTTP01)
		return expectText(a.Token != b.Token, r.sent, "the token "+a.Token+" twice", "different tokens")
	}},
}

// expectText is rfcRun.expect for what no single answer shows.
func expectText(ok bool, sent, found, want string) error {
	if ok {
		return nil
	}
	return &rfcMismatch{sent: sent, found: strings.TrimSpace(found), want: want}
}
