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

// table returns the tables in Markdown: scenarios (rows) and clients (columns), and
// what the clients cannot do; then the same of web servers.
func table() string {
	var clients, servers grid
	for _, k := range kinds {
		clients.column(k.name, k.because)
	}
	for _, s := range scenarios {
		clients.row(s.name)
		for _, k := range kinds {
			clients.cell(k.in(&s))
		}
	}
	for _, w := range webServers {
		servers.column(w.name, w.because)
	}
	for _, s := range siteScenarios {
		servers.row(s.name)
		for _, w := range webServers {
			servers.cell(s.of(&w))
		}
	}
	return clients.String() + "\n" + servers.String()
}

// grid is a table with a note for each column that has gaps.
type grid struct{ head, rule, rows, notes strings.Builder }

func (g *grid) column(name, because string) {
	fmt.Fprintf(&g.head, " %s |", name)
	g.rule.WriteString(":-:|")
	if because != "" {
		fmt.Fprintf(&g.notes, "- %s %s.\n", name, because)
	}
}

func (g *grid) row(name string) { fmt.Fprintf(&g.rows, "\n| %s |", name) }

func (g *grid) cell(tested bool) {
	g.rows.WriteString(map[bool]string{true: " ✓ |", false: " – |"}[tested])
}

// String returns the table, and below it the notes.
func (g *grid) String() string {
	return "| |" + g.head.String() + "\n|---|" + g.rule.String() + g.rows.String() + "\n\n" + g.notes.String()
}
