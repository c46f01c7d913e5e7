package main

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// asProgram says in the environment that the test's binary is to be the program.
const asProgram = "ACMESERVER_TEST_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// operator runs the program on the database of an authority.
type operator struct {
	t       *testing.T
	urlFile string
	server  *acmetest.Server
}

// newOperator starts a server with a database.
func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{t: t, urlFile: filepath.Join(t.TempDir(), "url")}
	url := postgrestest.URL(t)
	if err := os.WriteFile(o.urlFile, []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.server = acmetest.StartServer(t, postgrestest.Open(t, postgres.Config{URL: url}), server.Config{})
	return o
}

// client returns a client with an account.
func (o *operator) client() (c *acmetest.Client, account string) {
	o.t.Helper()
	c = o.server.NewClient(o.t)
	resp, err := c.NewAccount(o.t.Context(), map[string]any{"contact": []string{"mailto:a@team.example"}})
	if err != nil {
		o.t.Fatal(err)
	}
	url := resp.Header.Get("Location")
	return c, url[strings.LastIndex(url, "/")+1:]
}

// issue has a certificate issued.
func (o *operator) issue(c *acmetest.Client, names ...string) {
	o.t.Helper()
	order, err := c.NewOrder(o.t.Context(), names...)
	if err == nil {
		_, err = c.Finalize(o.t.Context(), order, acmetest.NewCSR(o.t, acmetest.NewKey(o.t), names...))
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// run runs a command on the database, and returns what it prints and what it complains of.
func (o *operator) run(args string) (printed, complaint string) {
	o.t.Helper()
	words := strings.Fields(args)
	words = append(words[:2:2], append([]string{"--database-url-file", o.urlFile}, words[2:]...)...)
	var out, errOut strings.Builder
	cmd := exec.CommandContext(o.t.Context(), os.Args[0], words...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), asProgram+"=yes"), &out, &errOut
	err := cmd.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		o.t.Fatal(err)
	} else if failed != (errOut.Len() > 0) {
		o.t.Errorf("%s: %v, and it complains %q", args, err, errOut.String())
	}
	return out.String(), errOut.String()
}

// listed runs a command that lists in JSON.
func listed[T any](o *operator, args string) (rows []T) {
	o.t.Helper()
	out, complaint := o.run(args + " --output json")
	if complaint != "" {
		o.t.Fatal(complaint)
	}
	for decoder := json.NewDecoder(strings.NewReader(out)); decoder.More(); {
		var row T
		if err := decoder.Decode(&row); err != nil {
			o.t.Fatalf("%v in %s", err, out)
		}
		rows = append(rows, row)
	}
	return rows
}

// namesListed returns the names of the certificates that a command lists.
func (o *operator) namesListed(args string) (all []string) {
	o.t.Helper()
	for _, row := range listed[certificateRow](o, args) {
		all = append(all, strings.Join(row.Names, "+"))
	}
	return all
}

func TestWhoGotWhatIsListed(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	one, oneID := o.client()
	other, otherID := o.client()
	o.issue(one, "a.example", "b.example")
	o.issue(one, "*.a.example")
	o.issue(other, "a.example", "c.example")
	for args, want := range map[string][]string{
		"":                                    {"a.example+b.example", "*.a.example", "a.example+c.example"},
		"--account " + otherID:                {"a.example+c.example"},
		"--name A.example":                    {"a.example+b.example", "a.example+c.example"},
		"--name c.example":                    {"a.example+c.example"},
		"--name *.a.example":                  {"*.a.example"},
		"--name a.example --account " + oneID: {"a.example+b.example"},
		"--since 1h --expired":                {"a.example+b.example", "*.a.example", "a.example+c.example"},
		"--since 1ns":                         nil,
		"--revoked":                           nil,
	} {
		if diff := cmp.Diff(want, o.namesListed("certificates list "+args)); diff != "" {
			t.Errorf("certificates list %s (-want +got):\n%s", args, diff)
		}
	}
	accounts := listed[accountRow](o, "accounts list")
	if len(accounts) != 2 || accounts[0].ID != oneID || accounts[0].Status != acme.AccountValid || accounts[1].Contact[0] != "mailto:a@team.example" {
		t.Errorf("accounts %+v; want those of %s and %s", accounts, oneID, otherID)
	}
	table, _ := o.run("certificates list --account " + otherID)
	if lines := strings.Split(table, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "SERIAL") || !strings.HasSuffix(lines[1], "   -         a.example,c.example") {
		t.Errorf("the table is\n%s", table)
	}
	text, _ := o.run("certificates list --output pem --account " + otherID)
	if block, rest := pem.Decode([]byte(text)); block == nil || len(rest) > 0 {
		t.Errorf("in PEM it is\n%s", text)
	}
}

func TestCertificatesAreRevokedOnce(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	c, account := o.client()
	o.issue(c, "a.example")
	o.issue(c, "b.example")
	o.issue(c, "c.example")
	serials := map[string]string{}
	for _, row := range listed[certificateRow](o, "certificates list") {
		serials[row.Names[0]] = row.Serial
	}
	unknown := strings.Repeat("00", 16)
	if out, complaint := o.run("certificates revoke --reason keyCompromise " + unknown + " " + strings.ToUpper(serials["a.example"])); !strings.Contains(out, "for a.example: revoked now") || !strings.Contains(complaint, unknown) {
		t.Errorf("it prints %q and complains %q; want one that is revoked, and one that is unknown", out, complaint)
	}
	if out, complaint := o.run("certificates revoke --account " + account + " --dry-run"); !strings.Contains(out, "for b.example: would be revoked") ||
		!strings.HasSuffix(out, "to revoke: 2 certificates (--count 2)\n") || complaint != "" {
		t.Errorf("a dry run prints %q and complains %q", out, complaint)
	}
	if out, complaint := o.run("certificates revoke --count 3 --account " + account); out != "" || !strings.Contains(complaint, "there are 2 certificates to revoke, and not 3: none was revoked") {
		t.Errorf("with another count it prints %q and complains %q", out, complaint)
	}
	revoked := listed[certificateRow](o, "certificates list --revoked")
	if len(revoked) != 1 || revoked[0].Names[0] != "a.example" || revoked[0].RevocationReason != "keyCompromise" || revoked[0].RevokedAt.IsZero() {
		t.Errorf("revoked are %+v; want a.example", revoked)
	}
	out, complaint := o.run("certificates revoke --count 2 --account " + account)
	for _, name := range []string{"b.example", "c.example"} {
		if !strings.Contains(out, serials[name]+" of account "+account+" for "+name+": revoked now\n") || complaint != "" {
			t.Errorf("%s is not revoked in %q (%s)", name, out, complaint)
		}
	}
	if out, complaint := o.run("certificates revoke " + serials["a.example"]); !strings.HasSuffix(out, "for a.example: revoked already\n") || complaint != "" {
		t.Errorf("again, it prints %q and complains %q", out, complaint)
	}
	if rows := listed[certificateRow](o, "certificates list --revoked"); len(rows) != 3 {
		t.Errorf("revoked are %+v; want all three", rows)
	}
}

func TestAnAccountThatIsRevokedOrdersNothing(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	c, account := o.client()
	order, err := c.NewOrder(t.Context(), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	if out, complaint := o.run("accounts revoke " + account); !strings.HasPrefix(out, "account "+account+": revoked now") || complaint != "" {
		t.Errorf("it prints %q and complains %q", out, complaint)
	}
	if out, complaint := o.run("accounts revoke " + account); out != "account "+account+": revoked already\n" || complaint != "" {
		t.Errorf("again, it prints %q and complains %q", out, complaint)
	}
	if rows := listed[accountRow](o, "accounts list --status revoked"); len(rows) != 1 || rows[0].ID != account {
		t.Errorf("revoked are %+v; want %s", rows, account)
	}
	var refused *acme.Problem
	if _, err := c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")); !errors.As(err, &refused) || refused.Type != acme.Unauthorized {
		t.Errorf("finalize: %v; want unauthorized", err)
	}
	if _, err := c.NewOrder(t.Context(), "a.example"); !errors.As(err, &refused) || refused.Type != acme.Unauthorized {
		t.Errorf("newOrder: %v; want unauthorized", err)
	}
}

func TestAnEmptyURLIsNoDatabase(t *testing.T) {
	t.Parallel()
	o := &operator{t: t, urlFile: filepath.Join(t.TempDir(), "url")}
	if err := os.WriteFile(o.urlFile, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, complaint := o.run("accounts list"); out != "" || !strings.Contains(complaint, "the database's connection URI is empty") {
		t.Errorf("it prints %q and complains %q", out, complaint)
	}
}

func TestWhatClientsChoseDoesNothingToATerminal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"mailto:jürgen@team.example": "mailto:jürgen@team.example",
		"a\u009b2Jb":                 `a\u009b2Jb`,
		"a\u202eb\x1b[31m":           `a\u202eb\x1b[31m`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q is printed as %q, want %q", text, got, want)
		}
	}
}

func TestWhatIsMeantMustBeClear(t *testing.T) {
	t.Parallel()
	o := &operator{t: t, urlFile: filepath.Join(t.TempDir(), "missing")}
	for args, want := range map[string]string{
		"certificates revoke":                                            "name the certificates by their serial numbers, or else by --account or --name",
		"certificates revoke --name a 00":                                `serial number "00": want 32 hexadecimal digits`,
		"certificates revoke --reason because":                           "no such reason",
		"certificates list --output yaml":                                `--output "yaml" is no format of this list`,
		"certificates list --account 12":                                 "an ID has 26 characters, not 2",
		"certificates prune":                                             `"prune" is not a command; usage: acmeserver certificates COMMAND`,
		"accounts list --status gone":                                    `--status "gone": want valid, deactivated or revoked`,
		"accounts revoke":                                                "name the accounts by their IDs",
		"accounts revoke mailto:a":                                       `account "mailto:a"`,
		"certificates revoke --account " + strings.Repeat("0", 25) + "4": "say how many certificates are meant with --count",
		"certificates list --account " + strings.Repeat("0", 26):         "no account has this ID",
		"certificates revoke --name= --dry-run":                          "want a name",
		"accounts list --schema other --config x":                        "leave out",
		"accounts list --config x":                                       "the configuration of a server (x) names the database: leave out --database-url-file",
		"accounts list":                                                  "--database-url-file: open " + o.urlFile,
		"certificates revoke " + strings.Repeat("0a", 16):                "--database-url-file: open " + o.urlFile,
	} {
		if out, complaint := o.run(args); out != "" || !strings.Contains(complaint, want) {
			t.Errorf("%s prints %q and complains %q; want %q", args, out, complaint, want)
		}
	}
}
