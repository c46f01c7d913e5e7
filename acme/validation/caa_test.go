package validation_test

import (
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/validation"
)

// accountURL precedes the IDs of accounts in the tests' URLs.
const accountURL = "https://ca.example/account/"

// forbidden is the outcome of a challenge that was met, and CAA says no.
func forbidden(says ...string) expectation {
	return expectation{problem: acme.CAA, final: true, says: says}
}

func TestCAA(t *testing.T) {
	t.Parallel()
	for title, test := range map[string]struct {
		name string // default a.corp.example
		set  func(dns *acmetest.DNS, v *acme.Validation)
		want expectation
	}{
		"without records everybody may issue": {set: func(*acmetest.DNS, *acme.Validation) {}},
		"a record that names us allows": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("a.corp.example", `0 issue "ca.example"`) },
		},
		"our name and the property's are of any case, and blanks do not matter": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("a.corp.example", `0 ISSUE "  CA.Example ; "`) },
		},
		"any of our names will do": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("a.corp.example", `0 issue "pki.example"`) },
		},
		"one record that names us is enough": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("a.corp.example", `0 issue "other.example"`, `0 issue "ca.example"`)
			},
		},
		"a record that names another forbids": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("a.corp.example", `0 issue "other.example"`) },
			want: forbidden(`CAA forbids issuance for a.corp.example: a.corp.example has issue "other.example" ` +
				`(not this authority, which is ca.example or pki.example)`),
		},
		"a record that names nobody forbids": {
			set:  func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("a.corp.example", `0 issue ";"`) },
			want: forbidden(`issue ";" (nobody may issue)`),
		},
		"a record that is malformed forbids": {
			set:  func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("a.corp.example", `0 issue "ca.example; %%"`) },
			want: forbidden(`malformed: the parameter %% is not tag=value`),
		},
		"a parameter that we do not know is nothing": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("a.corp.example", `0 issue "ca.example; color=blue; size="`)
			},
		},
		"records of a domain above count": {
			set:  func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("example", `0 issue "other.example"`) },
			want: forbidden("a.corp.example: example has issue"),
		},
		"the closest domain that has records decides": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("example", `0 issue "other.example"`)
				dns.SetCAA("corp.example", `0 issue "ca.example"`)
			},
		},
		"records that restrict nobody end the climb": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("example", `0 issue "other.example"`)
				dns.SetCAA("corp.example", `0 iodef "mailto:security@corp.example"`)
			},
		},
		"records behind an alias are those of the name": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCNAME("corp.example", "elsewhere.test")
				dns.SetCAA("elsewhere.test", `0 issue "other.example"`)
			},
			want: forbidden("corp.example has issue"),
		},
		"domains above an alias's target are not climbed": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCNAME("corp.example", "a.elsewhere.test")
				dns.SetTXT("a.elsewhere.test", "no CAA here")
				dns.SetCAA("elsewhere.test", `0 issue "other.example"`)
			},
		},
		"a critical property that is not understood forbids, whatever else is there": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue "ca.example"`, `128 tbs "unknown"`)
			},
			want: forbidden(`the critical property "tbs"`),
		},
		"a critical property that is understood is as any other": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("corp.example", `128 issue "ca.example"`) },
		},
		"a property that is not understood, and not critical, is nothing": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("corp.example", `0 tbs "unknown"`) },
		},
		"issuewild is not for a name": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("corp.example", `0 issuewild ";"`) },
		},
		"issuewild is for a wildcard": {
			name: "*.corp.example",
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue "ca.example"`, `0 issuewild "other.example"`)
			},
			want: forbidden("issuance for *.corp.example: corp.example has issuewild"),
		},
		"issuewild allows a wildcard that issue does not": {
			name: "*.corp.example",
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue ";"`, `0 issuewild "ca.example"`)
			},
		},
		"without issuewild, issue is for a wildcard too": {
			name: "*.corp.example",
			set:  func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetCAA("corp.example", `0 issue ";"`) },
			want: forbidden("*.corp.example"),
		},
		"accounturi allows the account, by any of its URLs": {
			set: func(dns *acmetest.DNS, v *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue "ca.example; accounturi=https://ca.svc/account/`+v.AccountID.String()+`"`)
			},
		},
		"accounturi forbids another account": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue "ca.example; accounturi=`+accountURL+acme.NewID().String()+`"`)
			},
			want: forbidden("not this account, which is " + accountURL),
		},
		"two accounturi allow nobody": {
			set: func(dns *acmetest.DNS, v *acme.Validation) {
				uri := "accounturi=" + accountURL + v.AccountID.String()
				dns.SetCAA("corp.example", `0 issue "ca.example; `+uri+`; `+uri+`"`)
			},
			want: forbidden("not this account"),
		},
		"validationmethods allows the challenge": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue "ca.example; ValidationMethods=http-01,dns-01"`)
			},
		},
		"validationmethods forbids another challenge": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue "ca.example; validationmethods=http-01"`)
			},
			want: forbidden("not by dns-01"),
		},
		"a failure to look is a refusal that another attempt may heal": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetRcode("example", "SERVFAIL") },
			want: expectation{problem: acme.DNSProblem, says: []string{
				"CAA of a.corp.example: looking up CAA of example: SERVFAIL",
			}},
		},
		"a failure to look behind records that allow is not met": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue "ca.example"`)
				dns.SetRcode("example", "SERVFAIL")
			},
		},
		"silence is a refusal": {
			set:  func(dns *acmetest.DNS, _ *acme.Validation) { dns.SetSilent("example") },
			want: expectation{problem: acme.DNSProblem, says: []string{"CAA of example", "timed out"}},
		},
		"of many records a few are told, cut short": {
			set: func(dns *acmetest.DNS, _ *acme.Validation) {
				dns.SetCAA("corp.example", `0 issue "1"`, `0 issue "2"`, `0 issue "3"`, `0 issue "4"`, `0 issue "5"`, `0 issue "6"`, `0 issue "7"`)
			},
			want: forbidden("and 2 more"),
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			name := test.name
			if name == "" {
				name = "a.corp.example"
			}
			l, v := newLab(t), validationOf(t, acme.DNS01, name)
			v.Identifier, v.Wildcard = v.Identifier.Base(), v.Identifier.IsWildcard()
			l.config.CAAIdentities = []string{"ca.example", "pki.example"}
			l.config.AccountURLs = []string{accountURL, "https://ca.svc/account/"}
			l.config.Timeout = 5 * time.Second
			l.dns.SetTXT("_acme-challenge."+v.Identifier.Value, dnsValue(v))
			test.set(l.dns, v)
			test.want.check(t, l.attempt(t, v))
		})
	}
}

func TestCAAIsNotAskedForWhereTheAuthorityHasNoName(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.DNS01, "foo.example")
	l.dns.SetTXT("_acme-challenge.foo.example", dnsValue(v))
	l.dns.SetCAA("foo.example", `0 issue ";"`)
	expectation{}.check(t, l.attempt(t, v))
	if n := l.dns.Queries("foo.example", "CAA"); n > 0 {
		t.Errorf("CAA was asked for %d times", n)
	}
}

func TestCAAOfAnAddressIsNotAskedFor(t *testing.T) {
	t.Parallel()
	l, v := newLab(t), validationOf(t, acme.HTTP01, "127.0.0.1")
	l.config.CAAIdentities = []string{"ca.example"}
	responder := acmetest.StartHTTP01(t)
	responder.Set(v.Token, keyAuthorization(v))
	l.config.HTTP01Port = responder.Port()
	expectation{}.check(t, l.attempt(t, v))
}

func TestCAAOfATrustedAccountAllowsNoMethod(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.config.Queue, l.config.CAAIdentities = make(queue, 1), []string{"ca.example"}
	worker, err := validation.New(l.config)
	if err != nil {
		t.Fatal(err)
	}
	id := acme.Identifier{Type: acme.DNS, Value: "foo.example"}
	if p := worker.CheckCAA(t.Context(), acme.NewID(), id, ""); p != nil {
		t.Errorf("without records: %v", p)
	}
	l.dns.SetCAA("foo.example", `0 issue "ca.example; validationmethods=dns-01"`)
	want := expectation{problem: acme.CAA, final: true, says: []string{"not by an account that is trusted without a proof"}}
	want.check(t, outcome{problem: worker.CheckCAA(t.Context(), acme.NewID(), id, "")})
}
