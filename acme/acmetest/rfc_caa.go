package acmetest

import (
	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcCAA: a domain says which authorities may issue for it (RFC 8659).
var rfcCAA = []rfcCheck{
	{says: "a domain whose CAA names the authority is issued for", needs: caa, check: caaIs(acme.AuthorizationValid, func(us string) []string {
		return []string{`0 issue "` + us + `"`}
	})},
	{says: "a domain whose CAA names another authority is not issued for, which is a problem of type caa (RFC 8555 §6.7)", needs: caa, check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNS01)
		name := o.Identifiers[0].Value
		r.setDNS01(name, keyAuthorization(r, c, ch))
		r.DNS.SetCAA(name, `0 issue "other.example"`)
		r.respond(c, url, ch)
		resp := r.read(c, ch.URL)
		problem, _ := member(resp, "error").(map[string]any)
		return r.expect(problem["type"] == acme.ProblemNamespace+string(acme.CAA), resp, "a challenge with an error of type caa")
	}},
	{says: "a domain whose CAA names nobody is not issued for (§4.2)", needs: caa, check: caaIs(acme.AuthorizationInvalid, func(string) []string {
		return []string{`0 issue ";"`}
	})},
	{says: "a domain whose CAA is malformed is not issued for (§4.2)", needs: caa, check: caaIs(acme.AuthorizationInvalid, func(us string) []string {
		return []string{`0 issue "` + us + `; %"`}
	})},
	{says: "a critical property that is not known forbids issuance (§4.1)", needs: caa, check: caaIs(acme.AuthorizationInvalid, func(us string) []string {
		return []string{`0 issue "` + us + `"`, `128 nobodyknows "x"`}
	})},
	{says: "a property that is neither known nor critical is passed over (§4.1)", needs: caa, check: caaIs(acme.AuthorizationValid, func(string) []string {
		return []string{`0 nobodyknows "x"`}
	})},
	{says: "issuewild is not for a name without a wildcard (§4.3)", needs: caa, check: caaIs(acme.AuthorizationValid, func(string) []string {
		return []string{`0 issuewild ";"`}
	})},
	{says: "a wildcard is not issued for where issuewild forbids (§4.3)", needs: caa, check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.order(c, "*."+name)
		r.DNS.SetCAA(name, `0 issuewild ";"`)
		ch := r.challenge(r.authorization(c, o.Authorizations[0]), acme.DNS01)
		r.setDNS01(name, keyAuthorization(r, c, ch))
		return r.becomes(c, o.Authorizations[0], ch, acme.AuthorizationInvalid)
	}},
	{says: "the records of the closest domain above count (§3)", needs: caa, check: func(r *rfcRun) error {
		c, domain := r.account(), r.name()
		o := r.order(c, "a.b."+domain)
		r.DNS.SetCAA(domain, `0 issue "other.example"`)
		ch := r.challenge(r.authorization(c, o.Authorizations[0]), acme.DNS01)
		r.setDNS01("a.b."+domain, keyAuthorization(r, c, ch))
		return r.becomes(c, o.Authorizations[0], ch, acme.AuthorizationInvalid)
	}},
	{says: "a domain whose CAA cannot be looked up is not issued for (§3)", needs: caa, check: func(r *rfcRun) error {
		c, domain := r.account(), r.name()
		o := r.order(c, "a."+domain)
		r.DNS.SetRcode(domain, "SERVFAIL")
		ch := r.challenge(r.authorization(c, o.Authorizations[0]), acme.DNS01)
		r.setDNS01("a."+domain, keyAuthorization(r, c, ch))
		return r.becomes(c, o.Authorizations[0], ch, acme.AuthorizationInvalid)
	}},
}

// rfcCAAParameters: a domain says which account may have certificates for it, and
// how control is proved (RFC 8657).
var rfcCAAParameters = []rfcCheck{
	{says: "accounturi allows the account (§3)", needs: caa, check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNS01)
		r.setDNS01(o.Identifiers[0].Value, keyAuthorization(r, c, ch))
		r.DNS.SetCAA(o.Identifiers[0].Value, `0 issue "`+r.identity()+`; accounturi=`+c.Account+`"`)
		return r.becomes(c, url, ch, acme.AuthorizationValid)
	}},
	{says: "accounturi forbids every other account (§3)", needs: caa, check: func(r *rfcRun) error {
		other := r.account().Account
		return caaIs(acme.AuthorizationInvalid, func(us string) []string {
			return []string{`0 issue "` + us + `; accounturi=` + other + `"`}
		})(r)
	}},
	{says: "validationmethods allows the challenge types that it names (§4)", needs: caa, check: caaIs(acme.AuthorizationValid, func(us string) []string {
		return []string{`0 issue "` + us + `; validationmethods=tls-alpn-01,dns-01"`}
	})},
	{says: "validationmethods forbids every other challenge type (§4)", needs: caa, check: caaIs(acme.AuthorizationInvalid, func(us string) []string {
		return []string{`0 issue "` + us + `; validationmethods=http-01"`}
	})},
}

// caa says why CAA cannot be tested.
func caa(s *rfcSuite) string {
	if len(s.directory.Meta.CAAIdentities) == 0 {
		return "the directory has no caaIdentities"
	}
	return dnsProofs(s)
}

// identity returns a name that the server goes by in CAA records.
func (r *rfcRun) identity() string { return r.directory.Meta.CAAIdentities[0] }

// caaIs meets dns-01 for a name that has CAA records.
func caaIs(want acme.AuthorizationStatus, records func(us string) []string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNS01)
		r.setDNS01(o.Identifiers[0].Value, keyAuthorization(r, c, ch))
		r.DNS.SetCAA(o.Identifiers[0].Value, records(r.identity())...)
		return r.becomes(c, url, ch, want)
	}
}
