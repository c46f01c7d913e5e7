package acmetest

import (
	"fmt"
	"slices"
	"sync"
)

// RFCOutcome is what became of a check.
type RFCOutcome string

// The outcomes, the one that says least of a server first.
const (
	// RFCNotExercised: the check was not made of this server, or the server gave no
	// occasion for it.
	RFCNotExercised RFCOutcome = "not exercised"
	RFCPassed       RFCOutcome = "passed"
	// RFCDiffers: the server does otherwise, as it is known to.
	RFCDiffers RFCOutcome = "differs"
	RFCFailed  RFCOutcome = "failed"
)

// rfcOutcomes has them in that order.
var rfcOutcomes = []RFCOutcome{RFCNotExercised, RFCPassed, RFCDiffers, RFCFailed}

// RFCResult is a check with what became of it.
type RFCResult struct {
	RFCCheck
	Outcome RFCOutcome
	// Why it differs, or was not exercised.
	Why string
}

// JoinRFC returns what runs against several configurations of a server say of it
// together: a check that one of them gave no occasion for may have been made in
// another. What go test -run left out of all of them is not in the list.
func JoinRFC(runs ...[]RFCResult) []RFCResult {
	best := map[string]RFCResult{}
	for _, result := range slices.Concat(runs...) {
		known, there := best[result.Says]
		if !there || result.says(known) {
			best[result.Says] = result
		}
	}
	return inOrder(best)
}

// says reports whether a result says more than another one of the same check.
func (r *RFCResult) says(other RFCResult) bool {
	return slices.Index(rfcOutcomes, r.Outcome) > slices.Index(rfcOutcomes, other.Outcome)
}

// inOrder returns results in the order of the suite.
func inOrder(results map[string]RFCResult) []RFCResult {
	var list []RFCResult
	for _, c := range RFCChecks() {
		if result, there := results[c.Says]; there {
			list = append(list, result)
		}
	}
	return list
}

// CountRFC says how many checks came to what.
func CountRFC(results []RFCResult) string {
	n := map[RFCOutcome]int{}
	for _, r := range results {
		n[r.Outcome]++
	}
	text := fmt.Sprintf("Of %d checks: %d passed, %d differ, %d not exercised", len(results), n[RFCPassed], n[RFCDiffers], n[RFCNotExercised])
	if n[RFCFailed] > 0 {
		text += fmt.Sprintf(", %d failed", n[RFCFailed])
	}
	return text + "."
}

// rfcRecord collects the results of a run.
type rfcRecord struct {
	mu      sync.Mutex
	results map[string]RFCResult
}

// add notes a result.
func (r *rfcRecord) add(result RFCResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[result.Says] = result
}

// list returns what was noted.
func (r *rfcRecord) list() []RFCResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return inOrder(r.results)
}
