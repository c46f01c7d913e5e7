package acmetest_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

var update = flag.Bool("update", false, "write the checks into docs/rfc8555.md")

const (
	root        = "../.."
	document    = root + "/docs/rfc8555.md"
	checksBegin = "<!-- checks: go test ./acme/acmetest -run Document -update -->\n"
	checksEnd   = "<!-- end of checks -->\n"
)

// marks says what stands for an outcome in the document.
var marks = map[acmetest.RFCOutcome]string{acmetest.RFCPassed: "✓", acmetest.RFCDiffers: "✗", acmetest.RFCNotExercised: "–"}

// compareDocument compares what became of every check with what the document says.
func compareDocument(t *testing.T, results []acmetest.RFCResult) {
	t.Helper()
	if len(results) < len(acmetest.RFCChecks()) || t.Failed() {
		t.Log("the document is compared when all checks were made, and none failed")
		return
	}
	text := read(t, document)
	before, rest, ok := strings.Cut(text, checksBegin)
	listed, after, ok2 := strings.Cut(rest, checksEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the checks", document)
	}
	want := checkList(results)
	if *update {
		if err := os.WriteFile(document, []byte(before+checksBegin+want+checksEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("%s is out of date (-update writes it): -want +found\n%s", document, diff)
	}
}

// checkList returns the checks by clause, with what became of them.
func checkList(results []acmetest.RFCResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", acmetest.CountRFC(results))
	clause := ""
	for _, r := range results {
		if r.Clause != clause {
			clause = r.Clause
			fmt.Fprintf(&b, "\n### %s\n\n", clause)
		}
		fmt.Fprintf(&b, "- %s %s", marks[r.Outcome], r.Says)
		if r.Why != "" {
			fmt.Fprintf(&b, ": %s", r.Why)
		}
		b.WriteString("\n")
	}
	return b.String() + "\n"
}

func TestTheDocumentNamesNoTestOrFileThatThereIsNot(t *testing.T) {
	t.Parallel()
	tests, files := sources(t)
	text := read(t, document)
	named := regexp.MustCompile("`(?:acmetest\\.)?(Test\\w+)`").FindAllStringSubmatch(text, -1)
	if len(named) == 0 {
		t.Fatal("the document names no tests")
	}
	for _, name := range named {
		if !tests[name[1]] {
			t.Errorf("there is no %s", name[1])
		}
	}
	for _, name := range regexp.MustCompile("`([a-z0-9_]+\\.go)`").FindAllStringSubmatch(text, -1) {
		if !files[name[1]] {
			t.Errorf("there is no file %s", name[1])
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(filepath.Dir(document), link[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
}

// sources returns the names of the tests and of the files of Go in the project.
func sources(t *testing.T) (tests, files map[string]bool) {
	t.Helper()
	tests, files = map[string]bool{}, map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		files[d.Name()] = true
		for _, f := range function.FindAllStringSubmatch(read(t, path), -1) {
			tests[f[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, files
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path) //nolint:gosec // of the project's own
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
