package pebble

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// externalKey is the MAC key of the external account "tenant".
var externalKey = []byte("a key of thirty-two octets......")

func TestPebbleKeepsTheRFCsButForWhatTheReadmeSays(t *testing.T) {
	t.Parallel()
	var open, bound []acmetest.RFCResult
	t.Run("servers", func(t *testing.T) { // returns when both have been asked
		t.Run("one that is open", func(t *testing.T) {
			t.Parallel()
			open = acmetest.TestRFC(t, start(t, false))
		})
		t.Run("one that requires bindings", func(t *testing.T) {
			t.Parallel()
			bound = acmetest.TestRFC(t, start(t, true))
		})
	})
	compareReadme(t, acmetest.JoinRFC(open, bound))
}

// start runs a Pebble that looks for responses on this host until the test ends.
func start(t *testing.T, requireBindings bool) *acmetest.Target {
	t.Helper()
	target := &acmetest.Target{
		HTTP01: acmetest.StartHTTP01(t), TLSALPN01: acmetest.StartTLSALPN01(t), DNS: acmetest.StartDNS(t),
		ExternalAccounts: map[string][]byte{"tenant": externalKey}, Known: known,
		Chance: map[string]string{
			"finalizes at once give one certificate": "it looks at the order's status, and changes it later without a lock: two may both find it ready",
		},
		Challenges: []acme.ChallengeType{acme.DNSAccount01},
		LeftOut:    map[acme.ChallengeType]string{acme.DNSPersist01: "it has the draft before, whose members have other names"},
	}
	target.DNS.SetDefaultA(netip.MustParseAddr("127.0.0.1"))
	dir := t.TempDir()
	address, err := acmetest.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	certificate := writeCertificate(t, dir)
	target.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: certificate}}}
	target.DirectoryURL = "https://" + address + "/dir"
	write(t, filepath.Join(dir, "config.json"), marshal(t, map[string]any{"pebble": map[string]any{
		"listenAddress": address, "certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": target.HTTP01.Port(), "tlsPort": target.TLSALPN01.Port(), "keyAlgorithm": "ecdsa",
		"externalAccountBindingRequired": requireBindings,
		"externalAccountMACKeys":         map[string]string{"tenant": base64.RawURLEncoding.EncodeToString(externalKey)},
		"profiles": map[string]any{
			"default": map[string]any{"description": "for 90 days", "validityPeriod": 90 * 24 * 3600},
			"short":   map[string]any{"description": "for 6 days", "validityPeriod": 6 * 24 * 3600},
		},
	}}))
	run(t, target, filepath.Join(dir, "config.json"))
	return target
}

// binary is Pebble, which TestMain builds at the version of go.mod, and removes.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pebble")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "pebble")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/letsencrypt/pebble/v2/cmd/pebble").CombinedOutput()
	if err != nil {
		panic(fmt.Sprintf("go build pebble: %v\n%s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// run starts the process and waits until it serves.
func run(t *testing.T, target *acmetest.Target, config string) {
	t.Helper()
	cmd := exec.Command(binary, "-config", config, "-dnsserver", target.DNS.Address(), "-strict")
	cmd.Env = append(os.Environ(),
		"PEBBLE_VA_NOSLEEP=1",          // validate at once
		"PEBBLE_WFE_NONCEREJECT=0",     // refuse no good nonces
		"PEBBLE_AUTHZREUSE=0",          // prove every name
		"PEBBLE_CHAIN_LENGTH=2",        // with an intermediate's issuer
		"PEBBLE_ALTERNATE_ROOTS=1",     // with an alternate chain
		"PEBBLE_WFE_ORDERS_PER_PAGE=2", // with pages
	)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if _, err := acmetest.Dial(ctx, target.HTTP, target.DirectoryURL, nil); err == nil {
			return
		}
		select {
		case <-done:
			t.Fatalf("pebble ended: %s", log.String())
		case <-ctx.Done():
			t.Fatal("pebble does not serve")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// writeCertificate leaves a certificate for 127.0.0.1 with its key, and returns it
// as the only one to trust.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(t, filepath.Join(dir, "cert.pem"), certificate)
	write(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return pool
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
