package conformance

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update rewrites README.md: go test -run Readme -update.
var update = flag.Bool("update", false, "write the table into README.md")

// The table stands in README.md between these lines.
const (
	tableBegins = "<!-- table: go test -run Readme -update -->\n"
	tableEnds   = "<!-- end of table -->\n"
)

func TestTheReadmeShowsTheTableOfClientsAndScenarios(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := bytes.Cut(data, []byte(tableBegins))
	_, after, ends := bytes.Cut(rest, []byte(tableEnds))
	if !begins || !ends {
		t.Fatalf("README.md lacks the line %q or %q", tableBegins, tableEnds)
	}
	want := string(before) + tableBegins + table() + tableEnds + string(after)
	if *update {
		if err := os.WriteFile("README.md", []byte(want), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("README.md is not of this table; run go test -run Readme -update (- table, + README.md):\n%s", diff)
	}
}

// table returns the table of scenarios (rows) and clients (columns) in Markdown,
// and what the clients cannot do.
func table() string {
	var b, notes strings.Builder
	b.WriteString("| |")
	for _, k := range kinds {
		fmt.Fprintf(&b, " %s |", k.name)
		if k.because != "" {
			fmt.Fprintf(&notes, "- %s %s.\n", k.name, k.because)
		}
	}
	b.WriteString(" on |\n|---|" + strings.Repeat(":-:|", len(kinds)) + "---|\n")
	for _, s := range scenarios {
		fmt.Fprintf(&b, "| %s |", s.name)
		for _, k := range kinds {
			fmt.Fprintf(&b, " %s |", map[bool]string{true: "✓", false: "–"}[k.in(&s)])
		}
		var on []string
		for _, target := range targets {
			if s.on(target) {
				on = append(on, target.name)
			}
		}
		fmt.Fprintf(&b, " %s |\n", strings.Join(on, ", "))
	}
	return b.String() + "\n" + notes.String()
}
