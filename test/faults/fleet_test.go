package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

// serviceURL is what clients know the replicas by: none of them has a name of its own.
const serviceURL = "https://ca.test"

// replicas is how many servers share the database.
const replicas = 3

// binaryDir is where the server is built; TestMain makes and removes it.
var binaryDir string

// binary is the acmeserver program, built once in a run.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir, "acmeserver")
	build := exec.Command("go", "build", "-o", path, "./cmd/acmeserver")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/acmeserver: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaryDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// fleet is some servers on one database, and what is around them.
type fleet struct {
	database  *postgrestest.Server
	disk      string // of a database that has one of its own
	url       string // of the database
	replicas  []*replica
	responder *acmetest.HTTP01
	roots     *x509.CertPool
}

// startFleet starts a Postgres with its files below dir, which may be empty, and the
// servers, and waits until all are ready.
func startFleet(t *testing.T, m mode, dir string) *fleet {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{disk: dir, responder: acmetest.StartHTTP01(t), roots: x509.NewCertPool()}
	f.startDatabase(t, dir)
	c := f.config(t, m)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	for i := range replicas {
		r := &replica{number: i + 1, binary: program, acme: freeAddress(t), ops: freeAddress(t), tls: &tls.Config{RootCAs: f.roots, MinVersion: tls.VersionTLS12}}
		c.Listen = config.Listen{ACME: r.acme, Ops: r.ops, HTTP: "127.0.0.1:0"}
		r.config = writeConfig(t, c)
		r.start(t)
		t.Cleanup(r.kill)
		go r.probe(ctx)
		f.replicas = append(f.replicas, r)
	}
	for _, r := range f.replicas {
		r.awaitReady(t)
		r.changes.Store(0)
	}
	return f
}

// startDatabase starts a Postgres with its files below dir.
func (f *fleet) startDatabase(t *testing.T, dir string) {
	t.Helper()
	var err error
	if f.database, err = postgrestest.Start(t.Context(), postgrestest.Options{Fsync: true, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.database.Stop(); err != nil {
			t.Error(err)
		}
	})
	f.url = f.database.URL(t)
}

// config returns the configuration of the servers but for their addresses, with a new
// authority.
func (f *fleet) config(t *testing.T, m mode) *config.Config {
	t.Helper()
	dir := t.TempDir()
	c := &config.Config{
		URLs:     []string{serviceURL},
		Database: &config.Database{URLFile: write(t, dir, "url", []byte(f.url))},
	}
	if !*long {
		c.ShutdownDelay = config.Duration{Duration: 3 * probeInterval} // nobody else looks after readiness here
	}
	root, rootKey, err := issuance.NewRoot(issuance.RootConfig{CommonName: "root of the faults", Lifetime: 72 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	intermediate, key, err := issuance.NewIntermediate(root, rootKey, issuance.IntermediateConfig{CommonName: "of the faults", Lifetime: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := issuance.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f.roots.AddCert(root)
	c.CertificateAuthority = config.CertificateAuthority{
		CertificateFile: write(t, dir, "ca.pem", issuance.EncodeCertificates(intermediate)),
		KeyFile:         write(t, dir, "ca.key", encoded),
		RootsFile:       write(t, dir, "roots.pem", issuance.EncodeCertificates(root)),
	}
	if m == trusted {
		c.Validation.Mode = config.Trusted
		return c
	}
	dns := acmetest.StartDNS(t)
	dns.SetDefaultA(netip.MustParseAddr("127.0.0.1"))
	c.Validation = config.Validation{
		Challenges: []string{"http-01"}, Resolvers: []string{dns.Address()}, HTTP01Port: f.responder.Port(),
		Networks: config.Networks{Allow: []string{"127.0.0.0/8"}},
	}
	return c
}

// writeConfig writes a configuration to a directory of its own.
func writeConfig(t *testing.T, c *config.Config) string {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return write(t, t.TempDir(), "config.yaml", data)
}

// write writes a file and returns its path.
func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// store opens the database as the operator does.
func (f *fleet) store(t *testing.T) *postgres.Store {
	t.Helper()
	return postgrestest.Open(t, postgres.Config{URL: f.url})
}
