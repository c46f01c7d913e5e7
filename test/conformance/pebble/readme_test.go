package pebble

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

var update = flag.Bool("update", false, "write the differences into README.md")

const (
	differencesBegin = "<!-- differences: go test -run Readme -update -->\n"
	differencesEnd   = "<!-- end of differences -->\n"
)

func TestTheReadmeListsEveryDifference(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), differencesBegin)
	found, after, ok2 := strings.Cut(rest, differencesEnd)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the differences")
	}
	switch want := differenceTable(); {
	case *update:
		if err := os.WriteFile("README.md", []byte(before+differencesBegin+want+differencesEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
	case found != want:
		t.Error("README.md is out of date: go test -run Readme -update")
	}
}

// differenceTable returns the differences in the order of the suite.
func differenceTable() string {
	var b strings.Builder
	checks := acmetest.RFCChecks()
	fmt.Fprintf(&b, "%d of %d checks differ.\n\n| clause | check | why Pebble differs |\n| --- | --- | --- |\n", len(known), len(checks))
	for _, c := range checks {
		if why, differs := known[c.Says]; differs {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", c.Clause, c.Says, why)
		}
	}
	return b.String()
}
