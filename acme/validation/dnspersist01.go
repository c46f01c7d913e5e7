package validation

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// persistLabel precedes the name whose control is proved (§4).
	persistLabel = "_validation-persist."
	// anyDomain stands for the domain in the hash of a record that is good for any
	// domain (§4.1).
	anyDomain = "*"
)

// dnsPersist01 proves control by a TXT record that stays: it names the authority
// and the account (draft-ietf-acme-dns-persist-02). The account's URL itself,
// which the drafts before had in the place of a hash, is taken too: it is what
// clients write today.
type dnsPersist01 struct {
	resolver *resolver
	// issuers are the domain names that the authority goes by, in lower case.
	issuers []string
	// accounts and hashes are what stands before an account's ID in its URLs, and
	// before the hash in the URI that stands for it; each of the one belongs to the
	// one of the other in the same place.
	accounts accountURLs
	hashes   []string
	now      func() time.Time
}

// prove looks for a record of ours that names the account. There may be others: of
// other authorities, or accounts.
func (m *dnsPersist01) prove(ctx context.Context, v *acme.Validation) *failure {
	if len(m.issuers) == 0 || len(m.accounts) == 0 { // by another configuration it was offered
		return refused(acme.ServerInternal, "dns-persist-01: this authority has no name")
	}
	name := persistLabel + v.Identifier.Base().Value
	texts, f := m.resolver.texts(ctx, name)
	if f != nil {
		return f.during("dns-persist-01")
	}
	wrong := acme.Problemf(acme.Unauthorized, "want a TXT record such as %q", m.example(v))
	if len(texts) > 0 {
		wrong.Detail += "; found " + quoted(texts)
	}
	for _, text := range texts {
		value, err := parseIssueValue(text)
		if !slices.Contains(m.issuers, value.issuer) {
			continue
		}
		if err != nil {
			wrong = acme.Problemf(acme.Malformed, `"%s": %s`, acme.Excerpt(text), acme.Excerpt(err.Error()))
			continue
		}
		until, problem := m.judge(value, v)
		if problem == nil {
			v.Until = until
			return nil
		}
		wrong = acme.Problemf(problem.Type, `"%s": %s`, acme.Excerpt(text), problem.Detail)
	}
	// Whoever wrote a record will not have another by the next attempt, but the DNS may.
	return failed(wrong.Type, "dns-persist-01 at %s: %s", name, wrong.Detail)
}

// farFuture is the end of the year 9999, in seconds since 1970: what ends later ends then,
// as not every time of int64 is one of the database.
const farFuture = 253402300799

// judge decides whether a record of ours allows the account to have the name, and
// until when; zero for no end.
func (m *dnsPersist01) judge(value issueValue, v *acme.Validation) (until time.Time, problem *acme.Problem) {
	one := func(tag string) (text string, problem *acme.Problem) {
		switch values := value.parameters[tag]; len(values) {
		case 0:
			return "", nil
		case 1:
			return values[0], nil
		default:
			return "", acme.Problemf(acme.Malformed, "it has more than one %s", tag)
		}
	}
	account, problem := one("accounturi")
	if problem != nil {
		return until, problem
	}
	policy, problem := one("policy")
	if problem != nil {
		return until, problem
	}
	end, problem := one("persistuntil")
	if problem != nil {
		return until, problem
	}
	if end != "" {
		seconds, err := strconv.ParseInt(end, 10, 64)
		if err != nil || strings.Trim(end, "0123456789") != "" {
			return until, acme.Problemf(acme.Malformed, "its persistUntil is not a number of seconds since 1970")
		}
		until = time.Unix(min(seconds, farFuture), 0)
	}
	switch {
	case account == "":
		return until, acme.Problemf(acme.Malformed, "it has no accounturi, want %s", m.uris(v)[0])
	case !slices.Contains(m.uris(v), account):
		return until, acme.Problemf(acme.Unauthorized, "its accounturi is not this account, want %s", m.uris(v)[0])
	case !until.IsZero() && !m.now().Before(until):
		return until, acme.Problemf(acme.Unauthorized, "its persistUntil was %s", until.UTC().Format(time.RFC3339))
	case v.Wildcard && !strings.EqualFold(policy, "wildcard"):
		return until, acme.Problemf(acme.Unauthorized, "it is not for wildcards: it lacks policy=wildcard")
	}
	return until, nil
}

// uris lists what may stand for the account of a validation: hashes for the name
// and for any, with its key and with those that it had before, and the account's
// URLs.
func (m *dnsPersist01) uris(v *acme.Validation) []string {
	var uris []string
	urls := m.accounts.of(v.AccountID)
	for i, prefix := range m.hashes {
		for _, key := range append([]acme.Thumbprint{v.Thumbprint}, v.FormerKeys...) {
			for _, domain := range []string{v.Identifier.Base().Value, anyDomain} {
				uris = append(uris, prefix+accountHash(domain, key, urls[i]))
			}
		}
	}
	return append(uris, urls...)
}

// accountHash returns what binds an account, by its URL and its key, to a domain
// (§4.1), with the name of the hash algorithm before it.
func accountHash(domain string, key acme.Thumbprint, url string) string {
	sum := sha256.Sum256([]byte(string([]byte{byte(len(domain))}) + domain + key.String() + url))
	return "sha-256/" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// example returns a record that would do.
func (m *dnsPersist01) example(v *acme.Validation) string {
	policy := ""
	if v.Wildcard {
		policy = "; policy=wildcard"
	}
	return fmt.Sprintf("%s; accounturi=%s%s", m.issuers[0], m.uris(v)[0], policy)
}
