package acme_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestEveryProblemTypeThatIsDeclaredIsInTheTable(t *testing.T) {
	t.Parallel()
	declared := declaredProblemTypes(t)
	if len(declared) != len(acme.ProblemTypes) {
		t.Errorf("%d types declared, %d in the table", len(declared), len(acme.ProblemTypes))
	}
	for _, typ := range declared {
		row, ok := acme.ProblemTypes[typ]
		if !ok || row.Status < 400 || row.Status > 599 || row.Reference == "" {
			t.Errorf("%s: row %+v", typ, row)
		}
	}
}

// declaredProblemTypes reads the constants out of the source.
func declaredProblemTypes(t *testing.T) []acme.ProblemType {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var types []acme.ProblemType
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "ProblemType" {
				types = append(types, acme.ProblemType(strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)))
			}
		}
		return true
	})
	return types
}

func TestAProblemSurvivesItsWireForm(t *testing.T) {
	t.Parallel()
	id := acme.Identifier{Type: acme.DNS, Value: "a.example"}
	sub := acme.Problemf(acme.RejectedIdentifier, "not %s", "here")
	sub.Identifier, sub.Status = &id, 400
	p := &acme.Problem{Type: acme.Compound, Detail: "two", Status: 400, Subproblems: []*acme.Problem{sub}}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"type":"urn:ietf:params:acme:error:compound"`; !strings.Contains(string(data), want) {
		t.Errorf("%s has no %s", data, want)
	}
	got := new(acme.Problem)
	if err := json.Unmarshal(data, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnExcerptIsShortPrintableAndValid(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":            "plain",
		"a\nb\x1b[31m\x00": `a\nb\x1b[31m\x00`,
		"bad\xff":          `bad\xff`,
	} {
		if got := acme.Excerpt(in); got != want {
			t.Errorf("Excerpt(%q) = %q, want %q", in, got, want)
		}
	}
	if long := acme.Excerpt(strings.Repeat("é", 1000)); !utf8.ValidString(long) || len(long) > 110 || !strings.HasSuffix(long, "…") {
		t.Errorf("of a long text: %q", long)
	}
}

func TestAnIDHasOneTextForm(t *testing.T) {
	t.Parallel()
	id := acme.NewID()
	back, err := acme.ParseID(id.String())
	if err != nil || back != id {
		t.Fatalf("ParseID(%q) = %v, %v", id, back, err)
	}
	for _, bad := range []string{"", "x", strings.ToUpper(id.String()) + "A", id.String()[:25] + "v", strings.Repeat("z", 26), id.String() + "0"} {
		if _, err := acme.ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) took it", bad)
		}
	}
	if next := acme.NewID(); next.String() < id.String() {
		t.Errorf("%s made after %s stands before it", next, id)
	}
}

func TestAnIDTellsWhenItWasMade(t *testing.T) {
	t.Parallel()
	before := time.Now().Truncate(time.Millisecond)
	at := acme.NewID().Time()
	if at.Before(before) || at.After(time.Now()) {
		t.Errorf("an ID that was made now tells %s", at)
	}
}
