package validation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// hashPrefix precedes the hashes that stand for accounts in the tests.
const hashPrefix = "https://ca.example/account-hash/"

func TestAccountHashIsThatOfTheDraft(t *testing.T) {
	t.Parallel()
	const key, url = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "https://ca.example/acct/123"
	for domain, want := range map[string]string{
		"example.com": "sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw",
		"*":           "sha-256/NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug",
	} {
		if got := acmetest.AccountHash(domain, key, url); got != want {
			t.Errorf("the hash for %s is %s, want %s", domain, got, want)
		}
	}
}

func TestDNSPersist01(t *testing.T) {
	t.Parallel()
	newKey, err := acme.ThumbprintOf(&jose.JSONWebKey{Key: acmetest.NewKey(t).Public()})
	if err != nil {
		t.Fatal(err)
	}
	// ours returns a record of ours for the account of v, with more behind it.
	ours := func(v *acme.Validation, more string) string {
		uri := hashPrefix + acmetest.AccountHash(v.Identifier.Value, v.Thumbprint.String(), accountURL+v.AccountID.String())
		return "ca.example; accounturi=" + uri + more
	}
	later := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	for title, test := range map[string]struct {
		name    string // default foo.example
		records func(v *acme.Validation) []string
		until   bool // whether the proof ends
		want    expectation
	}{
		"a record that names us and the account proves control": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "")} },
		},
		"a record for the account in any domain does": {
			records: func(v *acme.Validation) []string {
				return []string{"ca.example;accounturi=" + hashPrefix + acmetest.AccountHash("*", v.Thumbprint.String(), accountURL+v.AccountID.String())}
			},
		},
		"the account's URL does, as the drafts before had it": {
			records: func(v *acme.Validation) []string {
				return []string{"CA.example; AccountURI=" + accountURL + v.AccountID.String()}
			},
		},
		"a record of a key that the account had before does": {
			records: func(v *acme.Validation) []string {
				record := ours(v, "")
				v.FormerKeys, v.Thumbprint = []acme.Thumbprint{v.Thumbprint}, newKey
				return []string{record}
			},
		},
		"it may stand among others, right and wrong": {
			records: func(v *acme.Validation) []string {
				return []string{"v=spf1 -all", "other.example; accounturi=x", "ca.example; %", ours(v, ""), "ca.example"}
			},
		},
		"parameters that nobody knows are nothing": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "; x=1; x=2; policy=other")} },
		},
		"a proof ends with its record": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "; persistUntil="+later)} }, until: true,
		},
		"a proof ends in the year 9999 if not before": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "; persistUntil=10000000000000")} }, until: true,
		},
		"a record that has ended does not": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "; persistUntil=1721952000")} },
			want:    expectation{problem: acme.Unauthorized, says: []string{"its persistUntil was 2024-07-26T00:00:00Z"}},
		},
		"an end that is no number is malformed": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "; persistUntil=+99999999999")} },
			want:    expectation{problem: acme.Malformed, says: []string{"not a number of seconds"}},
		},
		"a wildcard needs the policy": {
			name:    "*.foo.example",
			records: func(v *acme.Validation) []string { return []string{ours(v, "")} },
			want:    expectation{problem: acme.Unauthorized, says: []string{"lacks policy=wildcard"}},
		},
		"a wildcard with the policy is proved": {
			name:    "*.foo.example",
			records: func(v *acme.Validation) []string { return []string{ours(v, "; Policy=WildCard")} },
		},
		"a name with the policy is proved": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "; policy=wildcard")} },
		},
		"another account's record does not": {
			records: func(v *acme.Validation) []string {
				other := *v
				other.AccountID = acme.NewID()
				return []string{ours(&other, "")}
			},
			want: expectation{problem: acme.Unauthorized, says: []string{"not this account, want " + hashPrefix + "sha-256/"}},
		},
		"a record for the account in another domain does not": {
			records: func(v *acme.Validation) []string {
				other := *v
				other.Identifier.Value = "bar.example"
				return []string{ours(&other, "")}
			},
			want: expectation{problem: acme.Unauthorized, says: []string{"not this account"}},
		},
		"a record of another authority does not, and one that would do is told": {
			records: func(v *acme.Validation) []string { return []string{"other" + ours(v, "")} },
			want:    expectation{problem: acme.Unauthorized, says: []string{`want a TXT record such as "ca.example; accounturi=` + hashPrefix, `found "otherca.example`}},
		},
		"a record without an account is malformed": {
			records: func(*acme.Validation) []string { return []string{"ca.example; policy=wildcard"} },
			want:    expectation{problem: acme.Malformed, says: []string{"it has no accounturi"}},
		},
		"a record with two accounts is malformed": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "; accounturi="+accountURL)} },
			want:    expectation{problem: acme.Malformed, says: []string{"more than one accounturi"}},
		},
		"a record that is no issue value is malformed": {
			records: func(v *acme.Validation) []string { return []string{ours(v, "; policy")} },
			want:    expectation{problem: acme.Malformed, says: []string{"the parameter policy is not tag=value"}},
		},
		"a name without records is told": {
			records: func(*acme.Validation) []string { return nil },
			want:    expectation{problem: acme.DNSProblem, says: []string{"dns-persist-01: looking up TXT of _validation-persist.foo.example: NXDOMAIN"}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			name := test.name
			if name == "" {
				name = "foo.example"
			}
			l, v := newLab(t), validationOf(t, acme.DNSPersist01, name)
			v.Identifier, v.Wildcard = v.Identifier.Base(), v.Identifier.IsWildcard()
			l.config.CAAIdentities = []string{"ca.example"}
			l.config.AccountURLs, l.config.AccountHashes = []string{accountURL}, []string{hashPrefix}
			if records := test.records(v); len(records) > 0 {
				l.dns.SetTXT("_validation-persist."+v.Identifier.Value, records...)
			}
			test.want.check(t, l.attempt(t, v))
			if v.Until.IsZero() == test.until || v.Until.Year() > 9999 {
				t.Errorf("the proof ends %s", v.Until)
			}
		})
	}
}

func TestDNSPersist01OfAnAuthorityWithoutANameIsRefused(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.DNSPersist01, "foo.example")
	want := expectation{problem: acme.ServerInternal, final: true, says: []string{"this authority has no name"}}
	want.check(t, l.attempt(t, v))
}
