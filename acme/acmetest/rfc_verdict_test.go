package acmetest

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestADifferenceIsExplainedOrAFailureAndAnExplanationMustBeTrue(t *testing.T) {
	t.Parallel()
	mismatch := &rfcMismatch{sent: "POST", found: "201", want: "400"}
	for _, tt := range []struct {
		name    string
		err     error
		known   bool
		outcome RFCOutcome
		says    string // "" for nothing
	}{
		{"as it should be", nil, false, RFCPassed, ""},
		{"a difference", mismatch, false, RFCFailed, "want:  400"},
		{"a known difference", mismatch, true, RFCDiffers, "because"},
		{"a known difference that is no more", nil, true, RFCFailed, "take it off the list"},
		{"a check that could not be made", &rfcSetUpError{errors.New("no order")}, false, RFCFailed, "could not be checked: no order"},
		{"a known difference that could not be checked", &rfcSetUpError{errors.New("no order")}, true, RFCFailed, "could not be checked"},
		{"a check that had nothing to look at", &rfcNoOccasion{"one chain"}, false, RFCNotExercised, "one chain"},
		{"a known difference of which nothing was to be seen", &rfcNoOccasion{"one chain"}, true, RFCNotExercised, "one chain"},
	} {
		outcome, _, text := verdict(tt.err, tt.known, "because")
		if outcome != tt.outcome || !strings.Contains(text, tt.says) || (text == "") != (tt.says == "") {
			t.Errorf("%s: %s, %q", tt.name, outcome, text)
		}
	}
}

func TestRunsOfAServerAreJoinedByWhatSaysMost(t *testing.T) {
	t.Parallel()
	checks := RFCChecks()
	result := func(i int, outcome RFCOutcome, why string) RFCResult {
		return RFCResult{RFCCheck: checks[i], Outcome: outcome, Why: why}
	}
	one := []RFCResult{result(1, RFCPassed, ""), result(2, RFCNotExercised, "trusted"), result(3, RFCDiffers, "on purpose"), result(5, RFCNotExercised, "none")}
	other := []RFCResult{result(0, RFCPassed, ""), result(1, RFCNotExercised, "no DNS"), result(2, RFCFailed, ""), result(3, RFCNotExercised, "none")}
	want := []RFCResult{result(0, RFCPassed, ""), result(1, RFCPassed, ""), result(2, RFCFailed, ""), result(3, RFCDiffers, "on purpose"), result(5, RFCNotExercised, "none")}
	for name, got := range map[string][]RFCResult{"one way": JoinRFC(one, other), "the other": JoinRFC(other, one)} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +found\n%s", name, diff)
		}
	}
}

func TestTheSentencesOfTheSuiteAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range RFCChecks() {
		if seen[c.Says] || c.Says == "" || c.Clause == "" {
			t.Errorf("%s: %q stands there twice, or is empty", c.Clause, c.Says)
		}
		seen[c.Says] = true
	}
	const atLeast = 150
	if len(seen) < atLeast {
		t.Errorf("%d checks, want %d", len(seen), atLeast)
	}
	t.Logf("%d checks", len(seen))
}
