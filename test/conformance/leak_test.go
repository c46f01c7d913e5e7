package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// traced returns an environment for a program of the test, by which all that comes
// of the program is known: none of it may be left when the test has ended. It is to
// be called before the cleanup that stops the program is registered.
func traced(t testing.TB, more ...string) []string {
	t.Helper()
	trace := "CONFORMANCE_TRACE=" + rand.Text()
	t.Cleanup(func() {
		if err := settles(func() error { return left(trace) }); err != nil {
			t.Error(err)
		}
	})
	return append(append(os.Environ(), trace), more...)
}

// left says which processes there are with a variable in their environment. It
// finds them by /proc, and so on Linux.
func left(variable string) error {
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range found {
		environment, err := os.ReadFile(path)
		if err != nil { // it has ended, or is of somebody else
			continue
		}
		if !bytes.Contains(append(environment, 0), append([]byte(variable), 0)) {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil {
			return fmt.Errorf("a process was left: %s (%s)", bytes.ReplaceAll(line, []byte{0}, []byte{' '}), filepath.Dir(path))
		}
	}
	return nil
}

// mustBeFree fails the test where somebody still listens on a port of its own.
func mustBeFree(t testing.TB, port int) {
	t.Helper()
	if err := settles(func() error { return taken(port) }); err != nil {
		t.Errorf("a port was left open: %v", err)
	}
}

// taken says whether somebody listens on a port.
func taken(port int) error {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return err
	}
	return l.Close()
}

// settles calls try until it succeeds, as long as it may take what was stopped to
// end; it returns the last error.
func settles(try func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout) // the test's own has ended
	defer cancel()
	return poll(ctx, try)
}

func TestAProcessThatIsLeftIsFound(t *testing.T) {
	t.Parallel()
	variable := "CONFORMANCE_TRACE=" + rand.Text()
	cmd := exec.Command("sleep", "600")
	cmd.Env = append(os.Environ(), variable)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := settles(func() error { // until it is sleep, and no more this program
		if err := left(variable); err == nil || !strings.Contains(err.Error(), "sleep 600") {
			return errors.New("not found, but: " + fmt.Sprint(err))
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	if err := left(variable); err != nil {
		t.Errorf("it has ended: %v", err)
	}
}

func TestAPortThatIsLeftOpenIsFound(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	if taken(port) == nil {
		t.Error("somebody listens, and was not found")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	mustBeFree(t, port)
}

func TestAClientThatIsMissingIsNamedWithItsPackage(t *testing.T) {
	t.Parallel()
	err := missing("no-such-client", "its-package")
	if err == nil || !strings.Contains(err.Error(), "no-such-client") || !strings.Contains(err.Error(), "apt-get install its-package") {
		t.Errorf("a client that is missing: %v", err)
	}
	if err := missing("sh", "dash"); err != nil {
		t.Error(err)
	}
}
