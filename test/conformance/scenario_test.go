package conformance

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// scenarioTimeout bounds what one client does in one scenario: seconds, or on a busy
// machine minutes, for those that start a program for every number.
const scenarioTimeout = 4 * time.Minute

// scenario is a column of the table.
type scenario struct {
	name    string
	options options
	// needs is the way to prove control that the scenario is about; may be empty.
	needs acme.ChallengeType
	// serveOnly is true of those that are about what dev does not do: it listens for
	// nobody who follows what certificates point to, and has one chain.
	serveOnly bool
	run       func(ctx context.Context, t *testing.T, l *lab, c client)
}

// The scenarios that not all clients can be driven through.
const (
	provesAnAddress  = "proves an address"
	readsWhy         = "reads why http-01 failed"
	findsItsAccount  = "finds its account again"
	changesItsKey    = "changes its account's key"
	asksForAProfile  = "gets the profile that it asks for"
	prefersAChain    = "gets the chain that it prefers"
	renewsItEarly    = "renews its certificate"
	asksWhenItIsDue  = "asks when to renew, and says what it replaces"
	revokesIt        = "revokes its certificate"
	bindsItsAccount  = "binds an external account"
	isRefusedUnbound = "is refused without an external account"
	livesAWholeLife  = "registers, gets, renews, revokes, and is on the CRL"
)

// tenant is the external account of the scenarios.
var tenant = binding{kid: "tenant-1", key: []byte("an HMAC key of thirty-two octets")}

// scenarios lists the columns.
var scenarios = []scenario{
	{name: "proves a name by http-01", needs: acme.HTTP01, run: obtains(acme.HTTP01, "www.conformance.example")},
	{name: "proves a name by dns-01", needs: acme.DNS01, run: obtains(acme.DNS01, "www.conformance.example")},
	{name: "proves a name by tls-alpn-01", needs: acme.TLSALPN01, run: obtains(acme.TLSALPN01, "www.conformance.example")},
	{
		name: "proves a name and its wildcard by dns-account-01", options: options{challenges: []acme.ChallengeType{acme.DNSAccount01}},
		needs: acme.DNSAccount01, run: obtains(acme.DNSAccount01, "*.account.example", "account.example"),
	},
	{
		name: "proves a name and its wildcard by dns-persist-01", options: options{challenges: []acme.ChallengeType{acme.DNSPersist01}, authority: "ca.conformance.example"},
		needs: acme.DNSPersist01, run: obtains(acme.DNSPersist01, "*.persist.example", "persist.example"),
	},
	{name: "proves several names", needs: acme.HTTP01, run: obtains(acme.HTTP01, "b.conformance.example", "a.conformance.example", "c.other.example")},
	{name: "proves a wildcard", needs: acme.DNS01, run: obtains(acme.DNS01, "*.conformance.example", "conformance.example")},
	{name: provesAnAddress, needs: acme.HTTP01, run: obtains(acme.HTTP01, "127.0.0.1")},
	{name: "proves nothing where it is trusted", options: options{trusted: true}, run: provesNothing},
	{name: readsWhy, options: options{stranger: true}, needs: acme.HTTP01, run: readsWhyItFailed},
	{name: findsItsAccount, run: registersTwice},
	{name: changesItsKey, options: options{trusted: true}, run: changesKey},
	{name: asksForAProfile, options: options{trusted: true}, run: getsItsProfile},
	{name: prefersAChain, options: options{trusted: true}, serveOnly: true, run: getsThePreferredChain},
	{name: renewsItEarly, needs: acme.HTTP01, run: renewsItsCertificate},
	{name: asksWhenItIsDue, options: options{trusted: true}, run: renewsWhenToldTo},
	{name: revokesIt, options: options{trusted: true}, run: revokes},
	{name: livesAWholeLife, needs: acme.HTTP01, serveOnly: true, run: livesItsLife},
	{
		name: bindsItsAccount, options: options{external: []binding{tenant}, required: true}, needs: acme.HTTP01,
		run: bindsAnExternalAccount,
	},
	{
		name: isRefusedUnbound, options: options{external: []binding{tenant}, required: true},
		run: isRefusedWithoutBinding,
	},
}

// in reports whether a client is driven through a scenario.
func (k *kind) in(s *scenario) bool {
	return !slices.Contains(k.cannot, s.name) && (s.needs == "" || slices.Contains(k.proves, s.needs))
}

// on reports whether a client is driven against a target in a scenario.
func (k *kind) on(s *scenario, on target) bool { return on.production || (!k.program && !s.serveOnly) }

func TestForeignClientsGetWhatTheyComeFor(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		for _, s := range scenarios {
			for _, on := range targets {
				if !k.in(&s) || !k.on(&s, on) {
					continue
				}
				t.Run(strings.ReplaceAll(k.name, "/", ".")+" "+s.name+" on "+on.name, func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeout(t.Context(), scenarioTimeout)
					defer cancel()
					l := newLab(t, on, s.options)
					s.run(ctx, t, l, k.start(t, l))
				})
			}
		}
	}
}

// obtains returns the scenario of a client that gets a certificate.
func obtains(by acme.ChallengeType, names ...string) func(context.Context, *testing.T, *lab, client) {
	return func(ctx context.Context, t *testing.T, l *lab, c client) {
		register(ctx, t, c, nil)
		obtain(ctx, t, l, c, order{names: names, by: by})
	}
}

// register makes an account, which must succeed.
func register(ctx context.Context, t *testing.T, c client, b *binding) string {
	t.Helper()
	account, err := c.register(ctx, b)
	if err != nil {
		t.Fatalf("registering: %v", err)
	}
	return account
}

// obtain gets a certificate, which must succeed, and verifies it.
func obtain(ctx context.Context, t *testing.T, l *lab, c client, o order) pemFiles {
	t.Helper()
	files, err := c.obtain(ctx, o)
	if err != nil {
		t.Fatalf("obtaining: %v", err)
	}
	l.server.verify(t, files, o.names)
	return files
}

// provesNothing gets a certificate from a server that trusts its accounts, and so
// looks for no name.
func provesNothing(ctx context.Context, t *testing.T, l *lab, c client) {
	names := []string{"a.conformance.example", "b.conformance.example"}
	register(ctx, t, c, nil)
	obtain(ctx, t, l, c, order{names: names, by: acme.HTTP01})
	for _, name := range names {
		if n := l.dns.Queries(name, "A") + l.dns.Queries(name, "AAAA"); n > 0 {
			t.Errorf("the server looked for %s %d times", name, n)
		}
	}
}

// readsWhyItFailed lets a stranger answer: the client's user must read what the
// validator found, and where.
func readsWhyItFailed(ctx context.Context, t *testing.T, l *lab, c client) {
	register(ctx, t, c, nil)
	_, err := c.obtain(ctx, order{names: []string{"www.conformance.example"}, by: acme.HTTP01})
	if err == nil {
		t.Fatal("a certificate was issued, though a stranger answered")
	}
	mustSay(t, err, "incorrectResponse", "http-01 at http://www.conformance.example/.well-known/acme-challenge/",
		"("+loopback(l.http01Port)+")", "the body is not the key authorization", strangerSays)
}

// registersTwice registers a key again, as a client does that lost all but the key.
func registersTwice(ctx context.Context, t *testing.T, _ *lab, c client) {
	first := register(ctx, t, c, nil)
	if second := register(ctx, t, c, nil); second != first || first == "" {
		t.Errorf("the account was %q, and then %q", first, second)
	}
}

// changesKey gives an account another key, by which it is found and has orders.
func changesKey(ctx context.Context, t *testing.T, l *lab, c client) {
	account := register(ctx, t, c, nil)
	if err := c.(keyChanger).changeKey(ctx); err != nil {
		t.Fatalf("changing the key: %v", err)
	}
	if found := register(ctx, t, c, nil); found != account {
		t.Errorf("the account was %s, and is %s by its new key", account, found)
	}
	obtain(ctx, t, l, c, order{names: []string{"www.conformance.example"}, by: acme.HTTP01})
}

// getsItsProfile gets a certificate of a profile that is not the default.
func getsItsProfile(ctx context.Context, t *testing.T, l *lab, c client) {
	register(ctx, t, c, nil)
	files := obtain(ctx, t, l, c, order{names: []string{"www.conformance.example"}, by: acme.HTTP01, profile: "shortlived"})
	mustHaveProfile(t, files.leaf(t), "shortlived")
}

// getsThePreferredChain gets a certificate with the chain to the root of whoever asks
// for nothing, and then another, with the chain to the second root.
func getsThePreferredChain(ctx context.Context, t *testing.T, l *lab, c client) {
	o := order{names: []string{"www.conformance.example"}, by: acme.HTTP01}
	register(ctx, t, c, nil)
	files := obtain(ctx, t, l, c, o)
	o.chain = secondRoot
	preferred, err := c.renew(ctx, files, o)
	if err != nil {
		t.Fatalf("renewing with the chain to %s: %v", secondRoot, err)
	}
	verifyWith(t, l.server.second, preferred, o.names)
}

// renewsItsCertificate gets a second certificate in place of the first.
func renewsItsCertificate(ctx context.Context, t *testing.T, l *lab, c client) {
	o := order{names: []string{"b.conformance.example", "a.conformance.example"}, by: acme.HTTP01}
	register(ctx, t, c, nil)
	files := obtain(ctx, t, l, c, o)
	first := files.leaf(t)
	renewed := renew(ctx, t, l, c, files, o)
	if renewed.leaf(t).SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Errorf("the certificate is still that with the serial number %x", first.SerialNumber)
	}
}

// renew renews a certificate, which must succeed, and verifies it.
func renew(ctx context.Context, t *testing.T, l *lab, c client, f pemFiles, o order) pemFiles {
	t.Helper()
	renewed, err := c.renew(ctx, f, o)
	if err != nil {
		t.Fatalf("renewing: %v", err)
	}
	l.server.verify(t, renewed, o.names)
	return renewed
}

// renewsWhenToldTo asks when to renew a certificate, which is while it lasts, and
// at once when it was revoked. It is replaced once, as the server knows.
func renewsWhenToldTo(ctx context.Context, t *testing.T, l *lab, c client) {
	o := order{names: []string{"www.conformance.example"}, by: acme.HTTP01}
	register(ctx, t, c, nil)
	files := obtain(ctx, t, l, c, o).put(t, t.TempDir()) // before the next comes into its place
	leaf, asker := files.leaf(t), c.(renewalAsker)
	switch start, end, err := asker.renewalWindow(ctx, files); {
	case err != nil:
		t.Fatalf("asking when to renew: %v", err)
	case !start.After(time.Now()) || !end.After(start) || !leaf.NotAfter.After(end):
		t.Errorf("renew from %s to %s what lasts until %s", start, end, leaf.NotAfter)
	}
	if err := c.revoke(ctx, files); err != nil {
		t.Fatalf("revoking: %v", err)
	}
	switch start, end, err := asker.renewalWindow(ctx, files); {
	case err != nil:
		t.Fatalf("asking when to renew what is revoked: %v", err)
	case !end.Before(time.Now()):
		t.Errorf("renew from %s to %s what is revoked, and should be at once", start, end)
	}
	renew(ctx, t, l, c, files, o)
	_, err := c.renew(ctx, files, o) // some try again without saying what they replace
	if !strings.Contains(l.server.stderr.String(), string(acme.AlreadyReplaced)) {
		t.Errorf("the server did not refuse to replace a certificate twice; the client: %v", err)
	}
}

// revokes gets a certificate and revokes it.
func revokes(ctx context.Context, t *testing.T, l *lab, c client) {
	register(ctx, t, c, nil)
	files := obtain(ctx, t, l, c, order{names: []string{"www.conformance.example"}, by: acme.HTTP01})
	pair, err := tls.LoadX509KeyPair(files.chain, files.key) // before clients put it away
	if err != nil {
		t.Fatal(err)
	}
	if err := c.revoke(ctx, files); err != nil {
		t.Fatalf("revoking: %v", err)
	}
	l.mustBeRevoked(ctx, t, pair)
}

// bindsAnExternalAccount registers with a binding, and gets a certificate.
func bindsAnExternalAccount(ctx context.Context, t *testing.T, l *lab, c client) {
	register(ctx, t, c, &tenant)
	obtain(ctx, t, l, c, order{names: []string{"www.conformance.example"}, by: acme.HTTP01})
}

// isRefusedWithoutBinding registers without a binding, and with a wrong one.
func isRefusedWithoutBinding(ctx context.Context, t *testing.T, _ *lab, c client) {
	if _, err := c.register(ctx, nil); err == nil {
		t.Error("an account without a binding was made")
	} else {
		mustSay(t, err, "external") // dehydrated says so by itself: it has read the directory
	}
	wrong := binding{kid: tenant.kid, key: []byte("some other key of thirty-two oct")}
	if _, err := c.register(ctx, &wrong); err == nil {
		t.Error("an account with a wrong binding was made")
	} else {
		mustSay(t, err, `no external account has the identifier "tenant-1" with this key`)
	}
}

// mustSay fails the test where a client's error lacks a text. How it breaks lines
// and quotes is the client's business.
func mustSay(t *testing.T, err error, texts ...string) {
	t.Helper()
	plain := strings.NewReplacer(`\"`, `"`, `\/`, `/`)
	got := strings.Join(strings.Fields(plain.Replace(err.Error())), " ")
	for _, want := range texts {
		if !strings.Contains(got, want) {
			t.Errorf("the client's error does not say %q: %s", want, got)
		}
	}
}
