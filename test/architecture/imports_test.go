// Package architecture tests that the parts of the project know of each other
// what ARCHITECTURE.md allows, and no more.
package architecture

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/acme-ca/acme-ca-operator/"

// root is the folder of the repository.
var root = filepath.Join("..", "..")

// bans lists who may not import what, and why. Both are prefixes of paths;
// except names the folders that may after all. Tests may import everything.
var bans = []struct {
	from, imported string
	except         []string
	reason         string
}{
	{"acme", "k8s.io/", nil, "the library has never heard of Kubernetes: it is useful without"},
	{"acme", "sigs.k8s.io/controller-runtime", nil, "the library has never heard of Kubernetes: it is useful without"},
	{"acme", module + "api", nil, "the library knows no custom resource: the operator translates"},
	{"acme", module + "controllers", nil, "the operator stands on the library, not the other way round"},
	{"acme", "github.com/jackc/pgx", []string{"acme/postgres"}, "one package speaks to Postgres"},
	{"acme", "github.com/miekg/dns", []string{"acme/validation", "acme/acmetest"}, "one package asks the DNS"},
	{"controllers/render", "sigs.k8s.io/controller-runtime", nil, "desired objects are pure functions: no client"},
	{"controllers/render", "k8s.io/client-go/kubernetes", nil, "desired objects are pure functions: no client"},
	{"controllers/render", module + "acme/postgres", nil, "desired objects are pure functions: no database"},
	{"controllers", module + "acme/server", nil, "the operator runs the server's image, it does not link the server"},
	{"controllers", module + "acme/validation", nil, "the operator runs the server's image, it does not link the server"},
	{"api", module, []string{}, "the types of the API are read by other projects: they drag nothing along"},
}

// siblings are the packages of acme/, which know acme and not each other; they
// meet in cmd/acmeserver, and in the test kit.
var siblings = []string{"server", "postgres", "validation", "issuance", "ratelimit", "nonce", "config"}

func TestNobodyImportsWhatIsBanned(t *testing.T) {
	t.Parallel()
	for dir, imports := range importsByFolder(t) {
		for _, imported := range imports {
			for _, ban := range bans {
				if under(dir, ban.from) && strings.HasPrefix(imported, ban.imported) && !anyUnder(dir, ban.except) && !strings.HasPrefix(imported, module+dir) {
					t.Errorf("%s imports %s: %s", dir, imported, ban.reason)
				}
			}
		}
	}
}

func TestTheSiblingsBelowAcmeDoNotKnowEachOther(t *testing.T) {
	t.Parallel()
	all := importsByFolder(t)
	for _, sibling := range siblings {
		dir := path.Join("acme", sibling)
		for _, imported := range all[dir] {
			if rest, ok := strings.CutPrefix(imported, module+"acme/"); ok {
				t.Errorf("%s imports acme/%s: siblings meet in cmd/acmeserver, by the interfaces of their consumer", dir, rest)
			}
		}
	}
}

// importsByFolder returns what the files that are not tests import, by folder.
func importsByFolder(t *testing.T) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports[filepath.ToSlash(rel)] = append(imports[filepath.ToSlash(rel)], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(imports["acme/server"]) == 0 {
		t.Fatal("found no imports of acme/server: the walk started in the wrong place")
	}
	return imports
}

func under(dir, prefix string) bool { return dir == prefix || strings.HasPrefix(dir, prefix+"/") }

func anyUnder(dir string, prefixes []string) bool {
	for _, p := range prefixes {
		if under(dir, p) {
			return true
		}
	}
	return false
}
