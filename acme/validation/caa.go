package validation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// caaCritical is the flag of a property that whoever does not understand it
	// must not pass over (RFC 8659 §4.1).
	caaCritical = 1 << 7
	// The tags of properties.
	caaIssue     = "issue"
	caaIssueWild = "issuewild"
)

// caaTags are the properties that are understood. Those that say nothing of who
// may issue certificates for domain names are none of ours to refuse.
var caaTags = []string{caaIssue, caaIssueWild, "iodef", "issuemail", "contactemail", "contactphone"}

// caa decides by the CAA records of a domain whether this authority may issue for
// it (RFC 8659), to which account and by which proof (RFC 8657).
type caa struct {
	resolver *resolver
	// identities are the domain names that this authority goes by, in lower case.
	// Without any nothing is asked: no record could allow it.
	identities []string
	accounts   accountURLs
}

// accountURLs are what an account's ID is appended to for its URLs: one for each
// base URL of the server.
type accountURLs []string

// of returns the URLs of an account.
func (a accountURLs) of(id acme.ID) []string {
	urls := make([]string, len(a))
	for i, prefix := range a {
		urls[i] = prefix + id.String()
	}
	return urls
}

// first returns the canonical URL of an account, for people.
func (a accountURLs) first(id acme.ID) string {
	if len(a) == 0 {
		return id.String()
	}
	return a[0] + id.String()
}

// check returns why the records forbid issuance for an identifier, which may be a
// wildcard, to an account that proved control by a challenge type; that is empty
// where control was not proved.
func (c *caa) check(ctx context.Context, id acme.Identifier, account acme.ID, t acme.ChallengeType) *failure {
	if len(c.identities) == 0 || id.Type != acme.DNS {
		return nil // an address has no CAA records (RFC 8738 §9)
	}
	owner, records, f := c.relevant(ctx, id.Base().Value)
	if f != nil {
		return f.during("CAA of %s", id.Base())
	}
	if tag := notUnderstood(records); tag != "" {
		return refused(acme.CAA, `CAA forbids issuance for %s: %s has the critical property "%s", which is not understood here`,
			id, owner, acme.Excerpt(tag))
	}
	var found []string
	for _, r := range governing(records, id.IsWildcard()) {
		why := c.refusal(r, account, t)
		if why == "" {
			return nil
		}
		found = append(found, fmt.Sprintf(`%s "%s" (%s)`, r.Tag, acme.Excerpt(r.Value), why))
	}
	if len(found) == 0 {
		return nil // there are no records, or none of them restricts
	}
	if rest := len(found) - maxTexts; rest > 0 {
		found = append(found[:maxTexts], fmt.Sprintf("and %d more", rest))
	}
	return refused(acme.CAA, "CAA forbids issuance for %s: %s has %s", id, owner, strings.Join(found, ", "))
}

// relevant returns the records of the closest ancestor of a name, or the name
// itself, that has any (RFC 8659 §3), and which one it is. A lookup that has no
// answer is a failure: there might be records. All are asked for at once, since
// most often none has any.
func (c *caa) relevant(ctx context.Context, name string) (owner string, records []*dns.CAA, f *failure) {
	type answer struct {
		records []dns.RR
		err     error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	names := ancestors(c.resolver.absolute(name))
	answers := make([]chan answer, len(names))
	for i := range names {
		answers[i] = make(chan answer, 1)
		go func() {
			records, err := c.resolver.lookup(ctx, names[i], dns.TypeCAA)
			answers[i] <- answer{records, err}
		}()
	}
	for i, owner := range names {
		a := <-answers[i]
		if a.err != nil && !isNoSuchName(a.err) {
			return "", nil, failed(acme.DNSProblem, "%v", a.err)
		}
		for _, rr := range a.records { // an alias may stand before them
			if r, ok := rr.(*dns.CAA); ok {
				records = append(records, r)
			}
		}
		if len(records) > 0 {
			return strings.TrimSuffix(owner, "."), records, nil
		}
	}
	return "", nil, nil
}

// ancestors returns an absolute name and all above it but the root.
func ancestors(name string) []string {
	var names []string
	for rest := name; rest != "" && rest != "."; {
		names = append(names, rest)
		_, rest, _ = strings.Cut(rest, ".")
	}
	return names
}

// isNoSuchName reports whether a lookup found that the name does not exist, so
// that it has no records either.
func isNoSuchName(err error) bool {
	var e *dnsError
	return errors.As(err, &e) && e.err == nil && e.rcode == dns.RcodeNameError
}

// notUnderstood returns the tag of a critical property that is not understood, or
// "" where there is none (RFC 8659 §4.1).
func notUnderstood(records []*dns.CAA) string {
	for _, r := range records {
		if r.Flag&caaCritical != 0 && !slices.Contains(caaTags, strings.ToLower(r.Tag)) {
			return r.Tag
		}
	}
	return ""
}

// governing returns the records that say who may issue: for a wildcard those of
// issuewild, where there is any, and else those of issue (RFC 8659 §4.3).
func governing(records []*dns.CAA, wildcard bool) []*dns.CAA {
	with := func(tag string) (out []*dns.CAA) {
		for _, r := range records {
			if strings.EqualFold(r.Tag, tag) {
				out = append(out, r)
			}
		}
		return out
	}
	if wild := with(caaIssueWild); wildcard && len(wild) > 0 {
		return wild
	}
	return with(caaIssue)
}

// refusal returns why a record does not allow issuance, or "" where it does.
func (c *caa) refusal(r *dns.CAA, account acme.ID, t acme.ChallengeType) string {
	v, err := parseIssueValue(r.Value)
	switch {
	case err != nil: // allows nobody (RFC 8659 §4.2)
		return "malformed: " + acme.Excerpt(err.Error())
	case v.issuer == "":
		return "nobody may issue"
	case !slices.Contains(c.identities, v.issuer):
		return "not this authority, which is " + strings.Join(c.identities, " or ")
	}
	if uris, restricted := v.parameters["accounturi"]; restricted { // RFC 8657 §3
		if len(uris) > 1 || !slices.Contains(c.accounts.of(account), uris[0]) {
			return "not this account, which is " + c.accounts.first(account)
		}
	}
	if methods, restricted := v.parameters["validationmethods"]; restricted { // RFC 8657 §4
		if len(methods) > 1 || t == "" || !slices.Contains(strings.Split(methods[0], ","), string(t)) {
			return "not by " + provedBy(t)
		}
	}
	return ""
}

// provedBy names a challenge type, or that there was none.
func provedBy(t acme.ChallengeType) string {
	if t == "" {
		return "an account that is trusted without a proof"
	}
	return string(t)
}
