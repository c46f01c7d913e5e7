package ratelimit

import (
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/net/publicsuffix"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Limiter tells what each kind of request owes by the policy in force. It is safe
// for concurrent use; a policy is exchanged whole.
type Limiter struct {
	policy atomic.Pointer[policy]
}

// policy is a policy with its overrides by limit and subject.
type policy struct {
	acme.RateLimitPolicy
	overrides map[override]acme.Limit
}

// override is what a limit of its own is for.
type override struct {
	limit   acme.LimitName
	subject string
}

// New returns a limiter that enforces p.
func New(p acme.RateLimitPolicy) *Limiter {
	l := new(Limiter)
	l.Enforce(p)
	return l
}

// Enforce puts a policy in force, from the next request on.
func (l *Limiter) Enforce(p acme.RateLimitPolicy) {
	next := &policy{RateLimitPolicy: p, overrides: make(map[override]acme.Limit, len(p.Overrides))}
	for _, o := range p.Overrides {
		next.overrides[override{o.Limit, o.Subject}] = o.Of
	}
	l.policy.Store(next)
}

// Enforced returns the policy in force.
func (l *Limiter) Enforced() acme.RateLimitPolicy { return l.policy.Load().RateLimitPolicy }

// NewOrder returns what an order owes. A renewal owes none of what is counted per
// order and name, unless the policy says so. Whether it is one is for the store to
// say: an order that replaces no certificate which is due may have exactly the names
// of one.
func (l *Limiter) NewOrder(account acme.ID, identifiers []acme.Identifier, replaced acme.Renewal) []acme.Spend {
	p := l.policy.Load()
	spends := p.spend(nil, acme.ConcurrentOrdersPerAccount, account.String())
	for _, id := range identifiers {
		spends = p.failures(spends, account, id, true)
	}
	owed, names := len(spends), acme.NameSetOf(identifiers)
	spends = p.spend(spends, acme.OrdersPerAccount, account.String())
	spends = p.spend(spends, acme.CertificatesPerNameSet, names.String())
	for _, domain := range registeredDomains(identifiers) {
		spends = p.spend(spends, acme.CertificatesPerDomain, domain)
	}
	if p.LimitRenewals {
		return spends
	}
	if replaced == (acme.Renewal{}) {
		replaced.Names = names
	}
	for i := range spends[owed:] {
		spends[owed+i].Renewal = replaced
	}
	return spends
}

// NewAuthorization returns what a pre-authorization owes (RFC 8555 §7.4.1): it is one
// order's part, which may be made without an order.
func (l *Limiter) NewAuthorization(account acme.ID, identifier acme.Identifier) []acme.Spend {
	p := l.policy.Load()
	return p.spend(p.failures(nil, account, identifier, true), acme.OrdersPerAccount, account.String())
}

// FailedValidation returns what a validation that failed takes. It is never refused:
// the next order for the identifier is.
func (l *Limiter) FailedValidation(account acme.ID, identifier acme.Identifier) []acme.Spend {
	spends := l.policy.Load().failures(nil, account, identifier, false)
	for i := range spends {
		spends[i].Recorded = true
	}
	return spends
}

// failures adds the limits on failed validations.
func (p *policy) failures(spends []acme.Spend, account acme.ID, identifier acme.Identifier, check bool) []acme.Spend {
	from, subject := len(spends), acme.IdentifierSubject(account, identifier)
	spends = p.spend(spends, acme.FailedValidationsPerIdentifier, subject)
	spends = p.spend(spends, acme.PauseAfterConsecutiveFailures, subject)
	for i := range spends[from:] {
		spends[from+i].Check = check
	}
	return spends
}

// NewAccount returns what an account owes that is made from an address.
func (l *Limiter) NewAccount(client netip.Addr) []acme.Spend {
	return l.policy.Load().spend(nil, acme.AccountsPerAddress, addressSubject(client))
}

// KeyChange returns what a change of an account's key owes (RFC 8555 §7.3.5).
func (l *Limiter) KeyChange(account acme.ID) []acme.Spend {
	return l.policy.Load().spend(nil, acme.KeyChangesPerAccount, account.String())
}

// ChallengeResponse returns what a response to a challenge owes (RFC 8555 §7.5.1).
func (l *Limiter) ChallengeResponse(authorization acme.ID, t acme.ChallengeType) []acme.Spend {
	return l.policy.Load().spend(nil, acme.ChallengeResponsesPerChallenge, authorization.String()+"/"+string(t))
}

// spend adds a spend of a limit, unless it is off for the subject.
func (p *policy) spend(spends []acme.Spend, name acme.LimitName, subject string) []acme.Spend {
	limit, ok := p.overrides[override{name, subject}]
	if !ok {
		limit = p.LimitOf(name)
	}
	if limit.Off() {
		return spends
	}
	return append(spends, acme.Spend{Limit: name, Subject: subject, Of: limit, DryRun: p.DryRun})
}

// registeredDomains returns the domains that the names were registered under, by
// the public suffix list, each once; an address stands for itself.
func registeredDomains(identifiers []acme.Identifier) []string {
	var domains []string
	seen := map[string]bool{}
	for _, id := range identifiers {
		domain := id.Base().Value
		if id.Type == acme.DNS {
			if registered, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
				domain = registered
			}
		}
		if !seen[domain] {
			seen[domain] = true
			domains = append(domains, domain)
		}
	}
	return domains
}

// addressSubject returns the network that stands for a client: whoever has one
// IPv6 address has a /64 of them.
func addressSubject(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	prefix, err := a.Prefix(64)
	if err != nil { // the zero Addr
		return strings.TrimSpace(a.String())
	}
	return prefix.String()
}
