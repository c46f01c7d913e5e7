package ratelimit_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
)

func names(values ...string) []acme.Identifier {
	ids := make([]acme.Identifier, len(values))
	for i, v := range values {
		ids[i] = acme.Identifier{Type: acme.DNS, Value: v}
	}
	return ids
}

func TestAnOrderOwesByPolicyOverrideAndDefault(t *testing.T) {
	t.Parallel()
	account := acme.NewID()
	five, off, many := acme.Limit{Count: 5, Period: time.Hour}, acme.Limit{}, acme.Limit{Count: 500, Period: time.Hour}
	l := ratelimit.New(acme.RateLimitPolicy{
		Limits: map[acme.LimitName]acme.Limit{
			acme.OrdersPerAccount: five, acme.ConcurrentOrdersPerAccount: off, acme.CertificatesPerNameSet: off, acme.CertificatesPerDomain: five,
			acme.FailedValidationsPerIdentifier: off,
		},
		Overrides: []acme.LimitOverride{{Limit: acme.CertificatesPerDomain, Subject: "big.example", Of: many}},
	})
	got := l.NewOrder(account, names("a.small.example", "b.small.example", "*.big.example"), acme.Renewal{})
	set := acme.Renewal{Names: acme.NameSetOf(names("a.small.example", "b.small.example", "*.big.example"))}
	want := []acme.Spend{
		{Limit: acme.OrdersPerAccount, Subject: account.String(), Of: five, Renewal: set},
		{Limit: acme.CertificatesPerDomain, Subject: "small.example", Of: five, Renewal: set},
		{Limit: acme.CertificatesPerDomain, Subject: "big.example", Of: many, Renewal: set},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	replaced := acme.Renewal{Names: acme.NameSet{1}, Lifetime: time.Hour}
	want = []acme.Spend{
		{Limit: acme.OrdersPerAccount, Subject: account.String(), Of: five, Renewal: replaced},
		{Limit: acme.CertificatesPerDomain, Subject: "small.example", Of: five, Renewal: replaced},
	}
	if diff := cmp.Diff(want, l.NewOrder(account, names("a.small.example"), replaced)); diff != "" {
		t.Errorf("a renewal owes (-want +got):\n%s", diff)
	}
	l.Enforce(acme.RateLimitPolicy{LimitRenewals: true})
	for _, renewal := range []acme.Renewal{{}, replaced} {
		if got := l.NewOrder(account, names("a.example"), renewal); len(got) != 3 || got[2].Renewal != (acme.Renewal{}) {
			t.Errorf("where renewals are limited, renewal %v: owes %v", renewal, got)
		}
	}
}

func TestAPreAuthorizationOwesAnOrderAndTheChecksOfItsName(t *testing.T) {
	t.Parallel()
	account, id := acme.NewID(), names("a.example")[0]
	l := ratelimit.New(acme.RateLimitPolicy{PauseAfterConsecutiveFailures: 3})
	subject := acme.IdentifierSubject(account, id)
	want := []acme.Spend{
		{Limit: acme.FailedValidationsPerIdentifier, Subject: subject, Of: acme.Limits[acme.FailedValidationsPerIdentifier].Default, Check: true},
		{Limit: acme.PauseAfterConsecutiveFailures, Subject: subject, Of: acme.Limit{Count: 3}, Check: true},
		{Limit: acme.OrdersPerAccount, Subject: account.String(), Of: acme.Limits[acme.OrdersPerAccount].Default},
	}
	if diff := cmp.Diff(want, l.NewAuthorization(account, id)); diff != "" {
		t.Errorf("owed (-want +got):\n%s", diff)
	}
}

func TestEveryLimitHasADefaultThatIsUsedWherePoliciesAreSilent(t *testing.T) {
	t.Parallel()
	l := ratelimit.New(acme.RateLimitPolicy{})
	owed := map[acme.LimitName]bool{}
	for _, spends := range [][]acme.Spend{
		l.NewOrder(acme.NewID(), names("a.example"), acme.Renewal{}), l.NewAccount(netip.MustParseAddr("192.0.2.1")),
		l.KeyChange(acme.NewID()), l.ChallengeResponse(acme.NewID(), acme.HTTP01),
	} {
		for _, s := range spends {
			owed[s.Limit] = true
			if s.Of != acme.Limits[s.Limit].Default || s.Subject == "" {
				t.Errorf("%s: %+v", s.Limit, s)
			}
		}
	}
	for name, row := range acme.Limits {
		if row.Subject == "" {
			t.Errorf("%s: the table does not say what its subject is", name)
		}
		if !row.Default.Off() && !owed[name] && name != acme.FailedValidationsPerIdentifier {
			t.Errorf("%s: no request owes it", name)
		}
	}
}

func TestAClientWithAnIPv6NetworkIsOneSubject(t *testing.T) {
	t.Parallel()
	l := ratelimit.New(acme.RateLimitPolicy{})
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8::2": "2001:db8::/64",
		"fe80::1%eth0": "fe80::/64",
	} {
		if got := l.NewAccount(netip.MustParseAddr(address))[0].Subject; got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}

func TestAFloodIsHeldBackAndOthersAreServed(t *testing.T) {
	t.Parallel()
	for _, dry := range []bool{false, true} {
		testFlood(t, acme.RateLimitPolicy{RequestsPerAddress: acme.Limit{Count: 10, Period: time.Second}, DryRun: dry})
	}
}

// testFlood tests the guard of a policy of ten requests a second.
func testFlood(t *testing.T, p acme.RateLimitPolicy) {
	t.Helper()
	f := ratelimit.NewFlood(ratelimit.New(p))
	now, flooder := time.Now(), netip.MustParseAddr("192.0.2.1")
	served := 0
	for range 100 {
		wait, dry := f.Admit(flooder, now)
		if wait == 0 {
			served++
		}
		if dry != p.DryRun {
			t.Errorf("dry is %t where the policy says %t", dry, p.DryRun)
		}
	}
	if served != 10 {
		t.Errorf("served %d of a flood, want 10", served)
	}
	for i := range 200000 { // far more addresses than are remembered
		if wait, _ := f.Admit(netip.MustParseAddr(fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)), now); wait > 0 {
			t.Fatal("another address was held back")
		}
	}
	if wait, _ := f.Admit(flooder, now.Add(time.Second)); wait > 0 {
		t.Errorf("held back for %v after a second", wait)
	}
}
