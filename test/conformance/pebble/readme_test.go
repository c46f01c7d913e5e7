package pebble

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

var update = flag.Bool("update", false, "write what was found into README.md")

const (
	foundBegin = "<!-- found: go test -update -->\n"
	foundEnd   = "<!-- end of what was found -->\n"
)

// compareReadme compares what became of every check with what the README says.
func compareReadme(t *testing.T, results []acmetest.RFCResult) {
	t.Helper()
	if len(results) < len(acmetest.RFCChecks()) || t.Failed() {
		t.Log("README.md is compared when all checks were made, and none failed")
		return
	}
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), foundBegin)
	found, after, ok2 := strings.Cut(rest, foundEnd)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for what was found")
	}
	switch want := tables(results); {
	case *update:
		if err := os.WriteFile("README.md", []byte(before+foundBegin+want+foundEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
	case found != want:
		t.Errorf("README.md is out of date (go test -update): -want +found\n%s", cmp.Diff(want, found))
	}
}

// tables returns how many checks came to what, and those that did not pass.
func tables(results []acmetest.RFCResult) string {
	return acmetest.CountRFC(results) + "\n\n" + table(results, acmetest.RFCDiffers, "why Pebble differs") + "\n" +
		table(results, acmetest.RFCNotExercised, "why it was not exercised")
}

// table returns the results of an outcome in the order of the suite.
func table(results []acmetest.RFCResult, outcome acmetest.RFCOutcome, why string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| clause | check | %s |\n| --- | --- | --- |\n", why)
	for _, r := range results {
		if r.Outcome == outcome {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", r.Clause, r.Says, r.Why)
		}
	}
	return b.String()
}
