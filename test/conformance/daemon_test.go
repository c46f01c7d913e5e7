package conformance

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built runs a command that prints where a program is, once it has built it:
// hack/clients has done so before, and then it takes a moment.
func built(t *testing.T, command string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Stderr = new(strings.Builder)
	path, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v (hack/clients sets up what is missing)\n%s", command, strings.Join(args, " "), err, cmd.Stderr)
	}
	return strings.TrimSpace(string(path))
}

// daemon is a foreign program that runs until it is stopped.
type daemon struct {
	cmd  *exec.Cmd
	each func(process *os.Process, line []byte) // called with each line of its output; may be nil

	mu   sync.Mutex
	text bytes.Buffer
}

// startDaemon runs a program, and returns what stops it. Its output is shown where
// the test failed.
func startDaemon(t *testing.T, each func(*os.Process, []byte), command string, args ...string) (stop func()) {
	t.Helper()
	d := &daemon{cmd: exec.Command(command, args...), each: each}
	d.cmd.Dir = t.TempDir()
	d.cmd.Env = traced(t, "HOME="+d.cmd.Dir)
	d.cmd.Stdout, d.cmd.Stderr = d, d
	d.cmd.WaitDelay = stopTimeout // for what it started
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		killed := time.AfterFunc(stopTimeout, func() { _ = d.cmd.Process.Kill() })
		_ = d.cmd.Wait() // how a foreign program ends is not what is tested
		killed.Stop()
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s:\n%s", command, d.text.Bytes())
		}
	})
	return stop
}

// Write takes output; it implements io.Writer.
func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.each != nil {
		for line := range bytes.Lines(p) {
			d.each(d.cmd.Process, line)
		}
	}
	return d.text.Write(p)
}
