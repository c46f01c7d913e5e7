package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

// options says what a scenario needs of its lab.
type options struct {
	// trusted servers ask for no proof.
	trusted bool
	// external are the external accounts; where required is true, accounts without
	// one are refused.
	external []binding
	required bool
	// stranger has somebody else's web server where validators ask for http-01.
	stranger bool
	// challenges are those that are offered, in the place of the default.
	challenges []acme.ChallengeType
	// authority is the name of the authority in CAA records and in those of
	// dns-persist-01; empty where it has none.
	authority string
}

// binding is an external account.
type binding struct {
	kid string
	key []byte
}

// encodedKey is the key in base64url, as clients are given it.
func (b *binding) encodedKey() string { return base64.RawURLEncoding.EncodeToString(b.key) }

// acmeServer is what clients talk to.
type acmeServer struct {
	*process
	directory string // URL
	rootFile  string // PEM
	roots     *x509.CertPool
	second    *x509.CertPool // has secondRoot; nil where there is one chain
	ops       string         // base URL of health and metrics; empty where there are none
	http      string         // address of what certificates point to; empty where there is none
	// restart starts it again, once it has ended; nil where its state ends with it.
	restart func(t *testing.T)
}

// target is a way to run acmeserver.
type target struct {
	name  string
	start func(t *testing.T, l *lab, o options) *acmeServer
	// production is true of the way that the operator runs it.
	production bool
}

// targets lists the ways.
var targets = []target{
	{"dev", startDev, false},
	{"serve", startServe, true},
}

// startDev runs acmeserver dev, with its state in memory, and waits for the
// directory's URL.
func startDev(t *testing.T, l *lab, o options) *acmeServer {
	t.Helper()
	s := &acmeServer{rootFile: filepath.Join(l.dir, "root.pem")}
	args := []string{
		"dev", "--listen", loopback(0), "--allow-loopback", "--ca-out", s.rootFile, "--dns-server", l.dns.Address(),
		"--http01-port", strconv.Itoa(l.http01Port), "--tlsalpn01-port", strconv.Itoa(l.tlsALPN01Port),
	}
	if o.trusted {
		args = append(args, "--mode", "trusted")
	}
	for _, way := range o.challenges {
		args = append(args, "--challenge", string(way))
	}
	if o.authority != "" {
		args = append(args, "--caa-identity", o.authority)
	}
	for _, b := range o.external {
		args = append(args, "--external-account", b.kid+":"+b.encodedKey())
	}
	if o.required {
		args = append(args, "--require-external-account")
	}
	s.process = startProcess(t, args...)
	s.await(t, s.stdout.line)
	s.directory = strings.TrimSpace(s.stdout.String())
	s.readRoots(t)
	return s
}

// startServe runs acmeserver serve with the configuration of the options.
func startServe(t *testing.T, l *lab, o options) *acmeServer {
	t.Helper()
	return serveWith(t, l, o, serveConfig(t, l, o))
}

// serveWith migrates an empty database, writes a configuration and the files that
// it names, and runs acmeserver serve until it is ready.
func serveWith(t *testing.T, l *lab, o options, c *config.Config) *acmeServer {
	t.Helper()
	database := postgrestest.EmptyURL(t)
	runToEnd(t, []string{"DATABASE_URL=" + database}, "migrate")
	writeFile(t, c.Database.URLFile, []byte(database+"\n"))
	second := writeAuthority(t, &c.CertificateAuthority)
	writeExternalAccounts(t, &c.ExternalAccounts, o)
	path := filepath.Join(l.dir, "acmeserver.yaml")
	writeConfig(t, path, c)
	s := &acmeServer{
		directory: c.URLs[0] + "/directory", rootFile: c.CertificateAuthority.RootsFile,
		ops: "http://" + c.Listen.Ops, http: c.Listen.HTTP, second: x509.NewCertPool(),
	}
	s.second.AddCert(second)
	s.restart = func(t *testing.T) {
		t.Helper()
		s.process = startProcess(t, "serve", "--config", path)
		s.await(t, s.ready(t.Context(), s.ops+"/readyz"))
	}
	s.restart(t)
	s.readRoots(t)
	return s
}

// serveConfig returns the configuration of acmeserver serve.
func serveConfig(t *testing.T, l *lab, o options) *config.Config {
	t.Helper()
	address := loopback(freePort(t))
	c := &config.Config{
		Listen:   config.Listen{ACME: address, HTTP: loopback(freePort(t)), Ops: loopback(freePort(t))},
		URLs:     []string{"https://" + address},
		Database: &config.Database{URLFile: filepath.Join(l.dir, "database-url")},
		CertificateAuthority: config.CertificateAuthority{
			CertificateFile: filepath.Join(l.dir, "ca.pem"), KeyFile: filepath.Join(l.dir, "ca.key"),
			AlternateChainsFile: filepath.Join(l.dir, "chains.pem"), RootsFile: filepath.Join(l.dir, "root.pem"), Lint: config.LintEnforce,
		},
		Validation: config.Validation{
			Resolvers: []string{l.dns.Address()}, Networks: config.Networks{Allow: []string{"127.0.0.0/8"}},
			HTTP01Port: l.http01Port, TLSALPN01Port: l.tlsALPN01Port,
		},
		Profiles: slices.Clone(profiles),
		// No load balancer is to be waited for.
		ShutdownDelay: config.Duration{Duration: time.Millisecond},
	}
	for _, way := range o.challenges {
		c.Validation.Challenges = append(c.Validation.Challenges, string(way))
	}
	if o.authority != "" {
		c.Directory.CAAIdentities = []string{o.authority}
	}
	if o.trusted {
		c.Validation.Mode = config.Trusted
	}
	if len(o.external) > 0 {
		c.ExternalAccounts = config.ExternalAccounts{Required: o.required, KeysFile: filepath.Join(l.dir, "external-accounts")}
	}
	return c
}

// authorityLifetime is longer than any profile's, which it would bound.
const authorityLifetime = 365 * 24 * time.Hour

// secondRoot is the common name of a root that whoever asks for nothing gets no chain to.
const secondRoot = "conformance second root"

// writeAuthority makes two roots and an intermediate that both have signed, and writes
// the files that a server is given of them. It returns the second root.
func writeAuthority(t *testing.T, c *config.CertificateAuthority) *x509.Certificate {
	t.Helper()
	root, rootKey, err := issuance.NewRoot(issuance.RootConfig{CommonName: "conformance root", Lifetime: authorityLifetime})
	if err != nil {
		t.Fatal(err)
	}
	intermediate, key, err := issuance.NewIntermediate(root, rootKey, issuance.IntermediateConfig{CommonName: "conformance intermediate", Lifetime: authorityLifetime})
	if err != nil {
		t.Fatal(err)
	}
	// dehydrated finds a common name behind something, as most roots have it.
	second, secondKey, err := issuance.NewRoot(issuance.RootConfig{CommonName: secondRoot, Organization: "conformance", Lifetime: authorityLifetime})
	if err != nil {
		t.Fatal(err)
	}
	bySecond, _, err := issuance.NewIntermediate(second, secondKey, issuance.IntermediateConfig{
		CommonName: intermediate.Subject.CommonName, Key: key, Lifetime: authorityLifetime,
	})
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := issuance.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, c.CertificateFile, issuance.EncodeCertificates(intermediate))
	writeFile(t, c.KeyFile, keyPEM)
	writeFile(t, c.AlternateChainsFile, issuance.EncodeCertificates(bySecond, second))
	writeFile(t, c.RootsFile, issuance.EncodeCertificates(root))
	return second
}

// writeExternalAccounts writes the file of external accounts, where there are any.
func writeExternalAccounts(t *testing.T, c *config.ExternalAccounts, o options) {
	t.Helper()
	if len(o.external) == 0 {
		return
	}
	keys := make(map[string]string)
	for _, b := range o.external {
		keys[b.kid] = b.encodedKey()
	}
	writeYAML(t, c.KeysFile, keys)
}

// writeConfig writes a configuration file.
func writeConfig(t *testing.T, path string, c *config.Config) {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, data)
}

// writeFile writes a file that nobody else reads.
func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ready asks a URL until it answers 200, and then closes the channel.
func (s *acmeServer) ready(ctx context.Context, url string) <-chan struct{} {
	ready := make(chan struct{})
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for answers(ctx, url) != http.StatusOK {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		close(ready)
	}()
	return ready
}

// answers returns the status that a URL answers with; 0 where it does not.
func answers(ctx context.Context, url string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// readRoots reads the root file.
func (s *acmeServer) readRoots(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(s.rootFile)
	if err != nil {
		t.Fatal(fmt.Errorf("the server wrote no root: %w", err))
	}
	certificates, err := issuance.ParseCertificates(data)
	if err != nil {
		t.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	for _, c := range certificates {
		s.roots.AddCert(c)
	}
}

// httpClient returns a client that trusts the server's root, and nobody else.
func (s *acmeServer) httpClient() *http.Client {
	return &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}},
	}
}
