package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

func TestTheReportSaysHowTheServerBoreTheLoadAndWhatItTook(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	s := acmetest.StartServer(t, postgrestest.New(t), server.Config{})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, issuance.EncodeCertificates(s.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err := run(t.Context(), &out, []string{
		"-directory", s.DirectoryURL(), "-ca", file, "-orders", "50", "-accounts", "2", "-workers", "2",
		"-warmup", "0s", "-duration", "200ms", "-pid", strconv.Itoa(os.Getpid()), "-database-url", url,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" flows/s: ", " 0 failed", "newOrder", "finalize", "p99", "the server: ", "Postgres: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, out.String())
		}
	}
}

func TestFlagsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"-directory":         {},
		"-ca":                {"-directory", "https://ca.test/", "-ca", "/nowhere"},
		"mode":               {"-directory", "https://ca.test/", "-mode", "dns-01", "-orders", "1"},
		"names":              {"-directory", "https://ca.test/", "-identifiers", "0"},
		"not defined: -what": {"-what"},
	} {
		if err := run(t.Context(), new(strings.Builder), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is refused with %v; want %q in it", args, err, want)
		}
	}
}
