package conformance

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// binaryDir is where the binary is built; TestMain makes and removes it.
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
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaryDir = dir
	quietLego()
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// freePort returns a port of 127.0.0.1 that nobody listens on, and that no other
// test is given. It must be free again when the test has ended.
func freePort(t testing.TB) int {
	t.Helper()
	address, err := acmetest.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	port := int(netip.MustParseAddrPort(address).Port())
	t.Cleanup(func() { mustBeFree(t, port) })
	return port
}

// loopback returns the address of a port of this host.
func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
