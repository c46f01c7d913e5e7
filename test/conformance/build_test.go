package conformance

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
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

// The ports that tests are given lie below those which systems take for outgoing
// connections (from 32768 on Linux): nobody else gets one between the moment in
// which it is found free and that in which a server or a client listens on it.
const (
	firstPort = 12000
	ports     = 20000
)

// nextPort counts up from anywhere, so that two runs at once seldom meet.
var nextPort = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(rand.Uint32N(ports))
	return n
}()

// freePort returns a port of 127.0.0.1 that nobody listens on, and that no other
// test is given. It must be free again when the test has ended.
func freePort(t testing.TB) int {
	t.Helper()
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		// Not by listening: a process that is started meanwhile has the socket for a moment more.
		if c, err := net.Dial("tcp", loopback(port)); err == nil {
			_ = c.Close() // somebody answers
			continue
		}
		t.Cleanup(func() { mustBeFree(t, port) })
		return port
	}
	t.Fatal("no port is free")
	return 0
}

// loopback returns the address of a port of this host.
func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
