package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// startTimeout bounds the time until a server serves.
	startTimeout = 30 * time.Second
	// stopTimeout bounds the time from SIGTERM to the end.
	stopTimeout = 15 * time.Second
)

// process is an acmeserver that runs.
type process struct {
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	done   chan struct{} // closed when it has ended
	ending bool          // was told to end, by the test
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	line chan struct{} // closed when there is a whole line
}

// Write appends; it implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := !bytes.ContainsRune(o.text.Bytes(), '\n')
	n, err := o.text.Write(p)
	if first && bytes.ContainsRune(p, '\n') {
		close(o.line)
	}
	return n, err
}

// String returns what was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startProcess runs acmeserver with arguments. When the test ends it is stopped,
// and must have ended cleanly, without an error in its log; the log is shown where
// the test failed.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		cmd: exec.Command(path, args...), done: make(chan struct{}),
		stdout: &output{line: make(chan struct{})}, stderr: &output{line: make(chan struct{})},
	}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = p.stdout, p.stderr, traced(t)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(t)
		for _, line := range p.errorLines() {
			t.Errorf("acmeserver logged an error: %s", line)
		}
		if t.Failed() {
			t.Logf("acmeserver %s:\n%s%s", strings.Join(args, " "), p.stdout, p.stderr)
		}
	})
	return p
}

// stop ends the process with SIGTERM, unless the test has ended it before; it must
// end with status 0, in time.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.ending {
		return
	}
	if p.ended() {
		t.Errorf("acmeserver ended by itself: %s", p.cmd.ProcessState)
		return
	}
	p.ending = true
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("acmeserver ended on SIGTERM with %s, want status 0", p.cmd.ProcessState)
		}
	case <-time.After(stopTimeout):
		t.Errorf("acmeserver did not end within %s of SIGTERM", stopTimeout)
		p.kill()
	}
}

// kill ends the process as a crash would.
func (p *process) kill() {
	p.ending = true
	_ = p.cmd.Process.Signal(os.Kill) // it may have ended
	<-p.done
}

// ended reports whether the process is no more.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// await returns when ready is closed; it fails the test where the process ends
// before, or takes too long.
func (p *process) await(t *testing.T, ready <-chan struct{}) {
	t.Helper()
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("acmeserver ended before it served: %s", p.cmd.ProcessState)
	case <-time.After(startTimeout):
		t.Fatalf("acmeserver did not serve within %s", startTimeout)
	}
}

// errorLines returns the lines of the log at level ERROR, and those that are no
// log lines at all: a panic, a data race.
func (p *process) errorLines() []string {
	var lines []string
	for line := range strings.Lines(p.stderr.String()) {
		var entry struct{ Level string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "ERROR" {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// runToEnd runs acmeserver with arguments and an environment until it ends.
func runToEnd(t *testing.T, env []string, args ...string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("acmeserver %s: %w\n%s", strings.Join(args, " "), err, out))
	}
}
