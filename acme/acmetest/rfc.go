package acmetest

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Target is an ACME server that [TestRFC] tests, and what the suite may ask of it.
type Target struct {
	// DirectoryURL is where clients begin.
	DirectoryURL string
	// HTTP trusts the certificate of the server; default [http.DefaultClient].
	HTTP *http.Client
	// Trusted says that orders are ready from the start, without a proof of control.
	// Checks of challenges are left out.
	Trusted bool
	// HTTP01, TLSALPN01 and DNS are where the server looks for responses to
	// challenges: each name of the suite must resolve to the responders (see
	// [DNS.SetDefaultA]). Checks that need one which is nil are left out; HTTP01 is
	// required unless Trusted.
	HTTP01    *HTTP01
	TLSALPN01 *TLSALPN01
	DNS       *DNS
	// Challenges lists the challenge types of drafts that the server offers, of which
	// there are dns-account-01 and dns-persist-01. Checks of others are left out;
	// LeftOut may say why.
	Challenges []acme.ChallengeType
	LeftOut    map[acme.ChallengeType]string
	// Address is an IP address by which the server reaches the responders; where
	// Trusted, any that it issues for. Default 127.0.0.1.
	Address string
	// ExternalAccounts has MAC keys of external account binding, by their
	// identifiers. Without any, checks of bindings are left out; they are required
	// where the directory says externalAccountRequired.
	ExternalAccounts map[string][]byte
	// Known explains where the server is known to differ, by the sentence of the
	// check. Such a check must fail, and is then skipped with the explanation; where
	// it passes, the list is out of date and the test fails.
	Known map[string]string
	// Chance explains, by its sentence, a check whose outcome is chance; it is left out.
	Chance map[string]string
}

// RFCCheck is one sentence that [TestRFC] tests, and where it is written.
type RFCCheck struct {
	Clause string // such as "RFC 8555 §6.2"
	Says   string // unique in the suite
}

// rfcCheck is a check of a section. It returns what is wrong with the server; that
// which keeps it from finding out, it reports by rfcRun.setUp.
type rfcCheck struct {
	says string
	// needs says why the check cannot be made of a server, or "".
	needs func(s *rfcSuite) string
	check func(r *rfcRun) error
}

// rfcSection has the checks of a clause.
type rfcSection struct {
	clause string
	checks []rfcCheck
}

// rfcSections returns the suite, in the order of the documents.
func rfcSections() []rfcSection {
	return []rfcSection{
		{"RFC 8555 §6.1", rfcTransport},
		{"RFC 8555 §6.2", rfcJWS},
		{"RFC 8555 §6.3", rfcMethods},
		{"RFC 8555 §6.4", rfcURLs},
		{"RFC 8555 §6.5", rfcNonces},
		{"RFC 8555 §6.7", rfcErrors},
		{"RFC 8555 §7.1", rfcResources},
		{"RFC 8555 §7.1.1", rfcDirectory},
		{"RFC 8555 §7.1.2", rfcOrderLists},
		{"RFC 8555 §7.2", rfcNewNonce},
		{"RFC 8555 §7.3", rfcNewAccount},
		{"RFC 8555 §7.3.1", rfcFindAccount},
		{"RFC 8555 §7.3.2", rfcAccountUpdate},
		{"RFC 8555 §7.3.4", rfcBindings},
		{"RFC 8555 §7.3.5", rfcKeyChange},
		{"RFC 8555 §7.3.6", rfcAccountDeactivation},
		{"RFC 8555 §7.4", rfcNewOrder},
		{"RFC 8555 §7.1.3", rfcIdentifiers},
		{"RFC 8555 §7.4, finalize", rfcFinalize},
		{"RFC 8555 §7.4.1", rfcNewAuthz},
		{"RFC 8555 §7.4.2", rfcCertificates},
		{"RFC 8555 §7.5", rfcAuthorizations},
		{"RFC 8555 §7.5.1", rfcResponses},
		{"RFC 8555 §7.5.2", rfcAuthzDeactivation},
		{"RFC 8555 §7.6", rfcRevocation},
		{"RFC 8555 §8.1", rfcTokens},
		{"RFC 8555 §8.3", rfcHTTP01},
		{"RFC 8555 §8.4", rfcDNS01},
		{"RFC 8737 §3", rfcTLSALPN01},
		{"RFC 8738", rfcAddresses},
		{"RFC 8659", rfcCAA},
		{"RFC 8657", rfcCAAParameters},
		{"draft-ietf-acme-dns-account-label", rfcDNSAccount01},
		{"draft-ietf-acme-dns-persist", rfcDNSPersist01},
		{"RFC 9773 §4", rfcRenewalInfo},
		{"RFC 9773 §5", rfcReplaces},
		{"draft-ietf-acme-profiles", rfcProfiles},
	}
}

// RFCChecks lists what [TestRFC] tests.
func RFCChecks() []RFCCheck {
	var list []RFCCheck
	for _, section := range rfcSections() {
		for _, c := range section.checks {
			list = append(list, RFCCheck{Clause: section.clause, Says: c.says})
		}
	}
	return list
}

// TestRFC sends a server what no well-behaved client does, a little of what all of
// them do, and checks the answers by the clauses of RFC 8555 and its extensions.
// Each check is a subtest of its own, has an account and names of its own, and
// runs in parallel with the others. Where a document leaves the server a choice
// the suite takes each. It returns what became of every check that go test -run
// did not leave out.
func TestRFC(t *testing.T, target *Target) []RFCResult {
	t.Helper()
	suite := newRFCSuite(t, target)
	t.Run("suite", func(t *testing.T) { // returns when all that is parallel in it has ended
		for _, section := range rfcSections() {
			t.Run(section.clause, func(t *testing.T) {
				t.Parallel()
				for _, c := range section.checks {
					t.Run(c.says, func(t *testing.T) {
						t.Parallel()
						suite.run(t, section.clause, c)
					})
				}
			})
		}
	})
	return suite.record.list()
}

// rfcTimeout bounds one check, so that a server which hangs fails it alone.
const rfcTimeout = time.Minute

// rfcSuite is what the checks of one server share.
type rfcSuite struct {
	*Target
	directory Directory
	// rsa2048 is made when it is first asked for; it costs more than all the others.
	rsa2048 func() crypto.Signer
	record  rfcRecord
}

// newRFCSuite reads the directory and looks through the list of differences.
func newRFCSuite(t *testing.T, target *Target) *rfcSuite {
	t.Helper()
	filled := *target
	filled.HTTP = cmp.Or(target.HTTP, http.DefaultClient)
	filled.Address = cmp.Or(target.Address, "127.0.0.1")
	client, err := Dial(t.Context(), filled.HTTP, filled.DirectoryURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	suite := &rfcSuite{
		Target: &filled, directory: client.Directory, rsa2048: sync.OnceValue(func() crypto.Signer { return rsaKey(2048) }),
		record: rfcRecord{results: map[string]RFCResult{}},
	}
	if !filled.Trusted && filled.HTTP01 == nil {
		t.Fatal("the target needs HTTP01: without, no order becomes ready")
	}
	checks := map[string]bool{}
	for _, c := range RFCChecks() {
		checks[c.Says] = true
	}
	for says := range filled.Known {
		if !checks[says] {
			t.Errorf("the target is known to differ in a check that there is not: %q", says)
		}
	}
	return suite
}

// rsaKey returns a new RSA key, strong or weak.
func rsaKey(bits int) crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err) // crypto/rand never fails, and the sizes in use are served
	}
	return key
}

// run makes a check, compares its outcome with what is known of the server, and
// notes it.
func (s *rfcSuite) run(t *testing.T, clause string, c rfcCheck) {
	t.Helper()
	outcome, why, text := s.outcome(t, &c)
	s.record.add(RFCResult{RFCCheck: RFCCheck{Clause: clause, Says: c.says}, Outcome: outcome, Why: why})
	switch outcome {
	case RFCFailed:
		t.Errorf("%s: %s\n%s", clause, c.says, text)
	case RFCDiffers, RFCNotExercised:
		t.Skip(text)
	}
}

// outcome makes a check, where it can be made.
func (s *rfcSuite) outcome(t *testing.T, c *rfcCheck) (outcome RFCOutcome, why, text string) {
	if c.needs != nil {
		if why := c.needs(s); why != "" {
			return RFCNotExercised, why, why
		}
	}
	if why, chance := s.Chance[c.says]; chance {
		return RFCNotExercised, why, why
	}
	ctx, cancel := context.WithTimeout(t.Context(), rfcTimeout)
	defer cancel()
	r := &rfcRun{rfcSuite: s, t: t, ctx: ctx}
	explanation, known := s.Known[c.says]
	return verdict(r.do(c.check), known, explanation)
}

// verdict returns what becomes of a check by what it returned, why, and the text for
// whoever runs it.
func verdict(err error, known bool, explanation string) (outcome RFCOutcome, why, text string) {
	var broken *rfcSetUpError
	var idle *rfcNoOccasion
	switch {
	case errors.As(err, &broken): // which no difference explains
		return RFCFailed, "", fmt.Sprintf("  could not be checked: %v", broken.err)
	case errors.As(err, &idle):
		return RFCNotExercised, idle.why, idle.why
	case err != nil && known:
		return RFCDiffers, explanation, fmt.Sprintf("known to differ: %s\n%v", explanation, err)
	case err != nil:
		return RFCFailed, "", err.Error()
	case known:
		return RFCFailed, "", fmt.Sprintf("  passes, but is listed as a known difference (%s): take it off the list", explanation)
	}
	return RFCPassed, "", ""
}
