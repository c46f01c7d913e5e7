package validation_test

import (
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// accountName returns where the account of v has its record for a name, by the
// account's URL below a base.
func accountName(v *acme.Validation, base, name string) string {
	return acmetest.AccountLabel(base+v.AccountID.String()) + "._acme-challenge." + name
}

func TestAccountLabelIsThatOfTheDraft(t *testing.T) {
	t.Parallel()
	const url, want = "https://example.com/acme/acct/ExampleAccount", "_ujmmovf2vn55tgye"
	if got := acmetest.AccountLabel(url); got != want {
		t.Errorf("the label of %s is %s, want %s", url, got, want)
	}
}

func TestDNSAccount01(t *testing.T) {
	t.Parallel()
	const name = "foo.example"
	for title, test := range map[string]struct {
		set  func(dns *acmetest.DNS, v *acme.Validation)
		want expectation
	}{
		"the digest below the account's label proves control": {
			set: func(dns *acmetest.DNS, v *acme.Validation) { dns.SetTXT(accountName(v, accountURL, name), dnsValue(v)) },
		},
		"so it does by another of the account's URLs": {
			set: func(dns *acmetest.DNS, v *acme.Validation) {
				dns.SetTXT(accountName(v, "https://ca.svc/account/", name), dnsValue(v))
			},
		},
		"a failure to look by one URL does not matter where another has the record": {
			set: func(dns *acmetest.DNS, v *acme.Validation) {
				dns.SetRcode(accountName(v, accountURL, name), "SERVFAIL")
				dns.SetTXT(accountName(v, "https://ca.svc/account/", name), dnsValue(v))
			},
		},
		"the record of dns-01 does not": {
			set:  func(dns *acmetest.DNS, v *acme.Validation) { dns.SetTXT("_acme-challenge."+name, dnsValue(v)) },
			want: expectation{problem: acme.DNSProblem, says: []string{"dns-account-01 (account " + accountURL, "NXDOMAIN"}},
		},
		"another account's record does not": {
			set: func(dns *acmetest.DNS, v *acme.Validation) {
				dns.SetTXT(acmetest.AccountLabel(accountURL+acme.NewID().String())+"._acme-challenge."+name, dnsValue(v))
			},
			want: expectation{problem: acme.DNSProblem},
		},
		"what was found is told, rather than what was not": {
			set: func(dns *acmetest.DNS, v *acme.Validation) {
				dns.SetTXT(accountName(v, "https://ca.svc/account/", name), "old")
			},
			want: expectation{problem: acme.IncorrectResponse, says: []string{"account https://ca.svc/account/", `found "old"`}},
		},
		"a name without a TXT record is told": {
			set: func(dns *acmetest.DNS, v *acme.Validation) { dns.SetA(accountName(v, accountURL, name), loopback4) },
			want: expectation{problem: acme.IncorrectResponse, says: []string{
				"has no TXT record",
			}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			l, v := newLab(t), validationOf(t, acme.DNSAccount01, name)
			l.config.AccountURLs = []string{accountURL, "https://ca.svc/account/"}
			test.set(l.dns, v)
			test.want.check(t, l.attempt(t, v))
		})
	}
}
