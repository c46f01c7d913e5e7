package acmetest

import (
	"errors"
	"strings"
	"testing"
)

func TestADifferenceIsExplainedOrAFailureAndAnExplanationMustBeTrue(t *testing.T) {
	t.Parallel()
	mismatch := &rfcMismatch{sent: "POST", found: "201", want: "400"}
	for _, tt := range []struct {
		name  string
		err   error
		known bool
		skip  bool
		says  string // "" for a success
	}{
		{"as it should be", nil, false, false, ""},
		{"a difference", mismatch, false, false, "want:  400"},
		{"a known difference", mismatch, true, true, "because"},
		{"a known difference that is no more", nil, true, false, "take it off the list"},
		{"a check that could not be made", &rfcSetUpError{errors.New("no order")}, false, false, "could not be checked: no order"},
		{"a known difference that could not be checked", &rfcSetUpError{errors.New("no order")}, true, false, "could not be checked"},
	} {
		if skip, text := verdict(tt.err, tt.known, "because"); skip != tt.skip || !strings.Contains(text, tt.says) || (text == "") != (tt.says == "") {
			t.Errorf("%s: skipped %v, %q", tt.name, skip, text)
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
