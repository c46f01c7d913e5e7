package acmetest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcDNSAccount01: dns-account-01 (draft-ietf-acme-dns-account-label-03).
var rfcDNSAccount01 = []rfcCheck{
	{says: "dns-account-01 has a token", needs: offers(acme.DNSAccount01), check: func(r *rfcRun) error {
		c, _, _, ch := r.pending(acme.DNSAccount01)
		resp := r.read(c, ch.URL)
		return r.expect(ch.Token != "", resp, "a token")
	}},
	{says: "dns-account-01 is met by the digest of the key authorization, below the label of the account", needs: offers(acme.DNSAccount01), check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSAccount01)
		r.DNS.SetTXT(AccountLabel(c.Account)+"._acme-challenge."+o.Identifiers[0].Value, DNS01Value(keyAuthorization(r, c, ch)))
		return r.becomes(c, url, ch, acme.AuthorizationValid)
	}},
	{says: "dns-account-01 is not met by the record of dns-01", needs: offers(acme.DNSAccount01), check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSAccount01)
		r.setDNS01(o.Identifiers[0].Value, keyAuthorization(r, c, ch))
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "dns-account-01 is not met below the label of another account", needs: offers(acme.DNSAccount01), check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSAccount01)
		r.DNS.SetTXT(AccountLabel(r.account().Account)+"._acme-challenge."+o.Identifiers[0].Value, DNS01Value(keyAuthorization(r, c, ch)))
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "dns-account-01 proves a wildcard", needs: offers(acme.DNSAccount01), check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.order(c, "*."+name)
		ch := r.challenge(r.authorization(c, o.Authorizations[0]), acme.DNSAccount01)
		r.DNS.SetTXT(AccountLabel(c.Account)+"._acme-challenge."+name, DNS01Value(keyAuthorization(r, c, ch)))
		return r.becomes(c, o.Authorizations[0], ch, acme.AuthorizationValid)
	}},
}

// offers says why challenges of a type cannot be tested.
func offers(t acme.ChallengeType) func(*rfcSuite) string {
	return func(s *rfcSuite) string {
		if !slices.Contains(s.Challenges, t) {
			return cmp.Or(s.LeftOut[t], fmt.Sprintf("the target offers no %s", t))
		}
		return dnsProofs(s)
	}
}

// rfcDNSPersist01: dns-persist-01 (draft-ietf-acme-dns-persist-02).
var rfcDNSPersist01 = []rfcCheck{
	{says: "dns-persist-01 names one to ten issuers, and has no token (§3.1)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		c, _, _, ch := r.pending(acme.DNSPersist01)
		resp := r.read(c, ch.URL)
		n := len(ch.IssuerDomainNames)
		return r.expect(n >= 1 && n <= 10 && member(resp, "token") == nil, resp, "issuerDomainNames with 1 to 10 names, and no token")
	}},
	{says: "the directory names issuers that every challenge has (§3.2)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		c, _, _, ch := r.pending(acme.DNSPersist01)
		for _, name := range r.directory.Meta.IssuerDomainNames {
			if !slices.Contains(ch.IssuerDomainNames, name) {
				return r.unlike(r.read(c, ch.URL), "issuerDomainNames with %s", name)
			}
		}
		return r.expect(len(r.directory.Meta.IssuerDomainNames) > 0, r.get(r.DirectoryURL), "meta.issuerDomainNames")
	}},
	{says: "issuers are among caaIdentities, where there are any (§3.2)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		c, _, _, ch := r.pending(acme.DNSPersist01)
		known := r.directory.Meta.CAAIdentities
		if len(known) == 0 {
			return r.notExercised("the directory has no caaIdentities")
		}
		for _, name := range ch.IssuerDomainNames {
			if !slices.Contains(known, name) {
				return r.unlike(r.read(c, ch.URL), "names of meta.caaIdentities")
			}
		}
		return nil
	}},
	{says: "dns-persist-01 is met by a record that names the issuer and, by its hash, the account (§4.1)", needs: offers(acme.DNSPersist01), check: persistIs(acme.AuthorizationValid, "")},
	{says: "a hash for any domain is good in each (§4.1)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSPersist01)
		r.setPersist(o.Identifiers[0].Value, ch, r.accountHash(c, "*"), "")
		return r.becomes(c, url, ch, acme.AuthorizationValid)
	}},
	{says: "a hash for another domain is refused (§4.1)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSPersist01)
		r.setPersist(o.Identifiers[0].Value, ch, r.accountHash(c, "other.example"), "")
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "the hash of another account is refused (§4.1)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSPersist01)
		r.setPersist(o.Identifiers[0].Value, ch, r.accountHash(r.account(), o.Identifiers[0].Value), "")
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "a record of before a key change is good after it (§4.2)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSPersist01)
		r.setPersist(o.Identifiers[0].Value, ch, r.accountHash(c, o.Identifiers[0].Value), "")
		next := NewKey(r.t)
		r.setUp("change the key", r.changeKey(c, next, nil).Err())
		c.Key = next
		return r.becomes(c, url, ch, acme.AuthorizationValid)
	}},
	{says: "a record of another issuer is passed over (§4.3.2)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSPersist01)
		ch.IssuerDomainNames = []string{"other.example"}
		r.setPersist(o.Identifiers[0].Value, ch, r.accountHash(c, o.Identifiers[0].Value), "")
		return r.becomes(c, url, ch, acme.AuthorizationInvalid)
	}},
	{says: "a parameter that nobody knows is passed over (§4.1)", needs: offers(acme.DNSPersist01), check: persistIs(acme.AuthorizationValid, "; nobody=knows")},
	{says: "a record that is malformed is refused (§4.1)", needs: offers(acme.DNSPersist01), check: persistIs(acme.AuthorizationInvalid, "; persistUntil=tomorrow")},
	{says: "a record whose persistUntil has passed is refused (§4.1)", needs: offers(acme.DNSPersist01), check: persistIs(acme.AuthorizationInvalid, "; persistUntil=1721952000")},
	{says: "an authorization does not outlive the persistUntil of its record (§4.1)", needs: offers(acme.DNSPersist01), check: func(r *rfcRun) error {
		until := time.Now().Add(10 * time.Minute)
		c, o, url, ch := r.pending(acme.DNSPersist01)
		r.setPersist(o.Identifiers[0].Value, ch, r.accountHash(c, o.Identifiers[0].Value), fmt.Sprintf("; persistUntil=%d", until.Unix()))
		if err := r.becomes(c, url, ch, acme.AuthorizationValid); err != nil {
			return err
		}
		resp := r.read(c, url)
		text, _ := member(resp, "expires").(string)
		expires, err := time.Parse(time.RFC3339, text)
		return r.expect(err == nil && !expires.After(until), resp, "expires by %s", until.UTC().Format(time.RFC3339))
	}},
	{says: "a wildcard needs policy=wildcard (§5)", needs: offers(acme.DNSPersist01), check: persistWildcardIs(acme.AuthorizationInvalid, "; policy=other")},
	{says: "policy=wildcard is for wildcards, in any case of letters (§4.1, §5)", needs: offers(acme.DNSPersist01), check: persistWildcardIs(acme.AuthorizationValid, "; policy=WildCard")},
}

// accountHash returns the URI that stands for the account of c in a domain's record.
func (r *rfcRun) accountHash(c *Client, domain string) string {
	thumbprint, err := thumbprintOf(c)
	r.setUp("thumbprint", err)
	return r.directory.Meta.AccountHashPrefix + AccountHash(domain, thumbprint.String(), c.Account)
}

// setPersist gives a name the record of dns-persist-01 that names an account.
func (r *rfcRun) setPersist(name string, ch Challenge, account, more string) {
	if len(ch.IssuerDomainNames) == 0 {
		r.setUp("make a record", fmt.Errorf("the challenge names no issuer: %+v", ch))
	}
	r.DNS.SetTXT("_validation-persist."+name, ch.IssuerDomainNames[0]+"; accounturi="+account+more)
}

// persistIs meets dns-persist-01 by a right record with more behind it.
func persistIs(want acme.AuthorizationStatus, more string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.DNSPersist01)
		r.setPersist(o.Identifiers[0].Value, ch, r.accountHash(c, o.Identifiers[0].Value), more)
		return r.becomes(c, url, ch, want)
	}
}

// persistWildcardIs is persistIs for a wildcard.
func persistWildcardIs(want acme.AuthorizationStatus, more string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.order(c, "*."+name)
		ch := r.challenge(r.authorization(c, o.Authorizations[0]), acme.DNSPersist01)
		r.setPersist(name, ch, r.accountHash(c, name), more)
		return r.becomes(c, o.Authorizations[0], ch, want)
	}
}
