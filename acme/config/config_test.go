package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files")

func TestAFileIsReadAsItsGoldenFormSays(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"minimal", "example"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Read(filepath.Join("testdata", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("with its defaults (-want +got):\n%s", diff)
			}
			again, err := Read(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, again); diff != "" {
				t.Errorf("read again (-first +second):\n%s", diff)
			}
		})
	}
}

func TestTheExampleHasEveryField(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	if err := decode(data, &c); err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	walk("", reflect.ValueOf(c), set)
	for path, ok := range set {
		if !ok {
			t.Errorf("%s is not in the example", path)
		}
	}
}

// walk notes for every field below v whether it is set in any of the values
// that have it.
func walk(path string, v reflect.Value, set map[string]bool) {
	switch {
	case v.Kind() == reflect.Pointer:
		walk(path, v.Elem(), set)
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[Duration]():
		for i := range v.NumField() {
			walk(path+"."+v.Type().Field(i).Name, v.Field(i), set)
		}
	case v.Kind() == reflect.Slice && v.Len() > 0:
		for i := range v.Len() {
			walk(path, v.Index(i), set)
		}
	default:
		set[path] = set[path] || !v.IsZero()
	}
}

func TestTheProfileOfAnOrderWithoutOne(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		profiles []Profile
		want     string
	}{
		"is the one marked":               {[]Profile{{Name: "a"}, {Name: "b", Default: true}}, "b"},
		"is the first where none is":      {[]Profile{{Name: "a"}, {Name: "b"}}, "a"},
		"is tlsserver of those built in":  {BuiltInProfiles(), "tlsserver"},
		"is none where there is no other": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Config{Profiles: test.profiles}
			if got := c.DefaultProfile(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheDocumentHasTheProfilesThatAreBuiltIn(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/profiles.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range BuiltInProfiles() {
		usages := make([]string, len(p.Usages))
		for j, u := range p.Usages {
			usages[j] = string(u)
		}
		mark := ""
		if i == 0 {
			mark = " (default)"
		}
		row := fmt.Sprintf("| `%s`%s | %gh", p.Name, mark, p.Lifetime.Hours())
		_, rest, ok := strings.Cut(string(doc), row)
		if line, _, _ := strings.Cut(rest, "\n"); !ok || !strings.Contains(line, "| "+strings.Join(usages, ", ")+" |") {
			t.Errorf("no row that begins with %q and has the usages %q", row, usages)
		}
	}
}

// minimal returns the least file that is valid, with further lines.
func minimal(t testing.TB, lines ...string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return []byte(string(data) + strings.Join(lines, "\n") + "\n")
}

func TestAFileThatIsNotOfTheFormatIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		line, want string
	}{
		"an unknown field":               {"lisen: {}", `unknown field "lisen"`},
		"an unknown field further down":  {"validation: {networks: {alow: []}}", `unknown field "validation.networks.alow"`},
		"an unknown field of a profile":  {"profiles: [{name: a, lifetime: 24h, usage: []}]", `unknown field "profiles[0].usage"`},
		"a field in another case":        {"Listen: {}", `unknown field "Listen"`},
		"a field given twice":            {"urls: []", `key "urls" already set`},
		"a duration without its unit":    {"lifetimes: {order: 90}", "lifetimes.order: is 90, and should be a duration: a number with its unit"},
		"a duration in days":             {"shutdownDelay: 7d", `shutdownDelay: is "7d", and should be a duration`},
		"a text where a number is right": {"validation: {http01Port: eighty}", "validation.http01Port: is string, and should be a whole number"},
		"a text where a list is right":   {"profiles: tlsserver", "profiles: is string, and should be a list"},
		"a text where a mapping is":      {"listen: 8443", "listen: is number, and should be a mapping"},
		"two documents":                  {"---\nurls: []", "more than one YAML document"},
		"no YAML":                        {"\t{", "not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(minimal(t, test.line))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte("urls: [http://a.example]\nvalidation: {networks: {allow: [10.0.0.0/8, 10.0.0.1/8]}}\n"))
	var got []string
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %T %v, want the faults joined", err, err)
	}
	for _, err := range joined.Unwrap() {
		var fault *FieldError
		if !errors.As(err, &fault) {
			t.Fatalf("got %T, want a FieldError", err)
		}
		got = append(got, fault.Field)
	}
	want := []string{
		"urls[0]", "database", "certificateAuthority.certificateFile", "certificateAuthority.keyFile",
		"certificateAuthority.rootsFile", "validation.networks.allow[1]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "acme.yaml")
	if _, err := Read(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want that %s is not there", err, path)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"minimal", "example"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	// An empty list stands for its default, as one that is not there.
	empty := cmpopts.EquateEmpty()
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		written, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(written)
		if err != nil {
			t.Fatalf("what was read is refused when written again: %v\n%s", err, written)
		}
		if diff := cmp.Diff(c, again, empty); diff != "" {
			t.Errorf("read, written, read (-first +second):\n%s", diff)
		}
	})
}
