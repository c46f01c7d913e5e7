package conformance

import (
	"slices"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/config"
)

// TestServeOnPostgresKeepsTheRFCs: acme/acmetest runs the same suite in its process,
// on a store in memory. Here too nothing is left out, and nothing else differs.
func TestServeOnPostgresKeepsTheRFCs(t *testing.T) {
	t.Parallel()
	bindings := []binding{tenant}
	var proving, trusting []acmetest.RFCResult
	t.Run("servers", func(t *testing.T) { // returns when both have been asked
		t.Run("one that wants proofs", func(t *testing.T) {
			t.Parallel()
			proving = acmetest.TestRFC(t, suiteTarget(t, options{external: bindings, challenges: acme.ChallengeTypes, authority: "ca.conformance.example"}))
		})
		t.Run("one that trusts its accounts", func(t *testing.T) {
			t.Parallel()
			trusting = acmetest.TestRFC(t, suiteTarget(t, options{external: bindings, required: true, trusted: true}))
		})
	})
	results := acmetest.JoinRFC(proving, trusting)
	if len(results) < len(acmetest.RFCChecks()) {
		t.Log("which checks were exercised is looked at when all were made")
		return
	}
	t.Log(acmetest.CountRFC(results))
	mustExercise(t, results)
}

// mustExercise fails the test unless all checks were made: this configuration gives
// an occasion for each.
func mustExercise(t *testing.T, results []acmetest.RFCResult) {
	t.Helper()
	for _, r := range results {
		if r.Outcome == acmetest.RFCNotExercised {
			t.Errorf("%s: %s was not exercised: %s", r.Clause, r.Says, r.Why)
		}
	}
}

// suiteTarget runs acmeserver serve for the suite.
func suiteTarget(t *testing.T, o options) *acmetest.Target {
	t.Helper()
	l := newBareLab(t)
	c := serveConfig(t, l, o)
	c.Directory.TermsOfService = "https://ca.conformance.example/terms"
	if !o.trusted {
		c.Lifetimes.AuthorizationReuse = config.Duration{Duration: time.Hour} // without, there is no newAuthz
	}
	l.server = serveWith(t, l, o, c)
	target := &acmetest.Target{
		DirectoryURL: l.server.directory, HTTP: l.server.httpClient(), Trusted: o.trusted,
		Challenges: slices.Clone(o.challenges), ExternalAccounts: map[string][]byte{}, Known: acmetest.ServerDifferences(),
	}
	for _, b := range o.external {
		target.ExternalAccounts[b.kid] = b.key
	}
	if o.trusted {
		target.Address = "192.0.2.1" // that of the server itself is refused
	} else {
		target.HTTP01, target.TLSALPN01, target.DNS = l.http01(t), l.tlsALPN01(t), l.dns
	}
	return target
}
