package faults

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

const (
	// startTimeout bounds the time until a server is ready.
	startTimeout = 30 * time.Second
	// probeInterval is how often a replica is asked whether it is ready: four times as
	// often as the operator's Deployment has it asked.
	probeInterval = 500 * time.Millisecond
	// probeTimeout is that of the Deployment.
	probeTimeout = 2 * time.Second
)

// replica is one acmeserver, which may die and be started again. Traffic goes to it
// while it says that it is ready, as a Service does it.
type replica struct {
	number  int
	binary  string
	config  string      // its file
	acme    string      // host:port of ACME
	tls     *tls.Config // how it is reached there
	ops     string      // host:port of /readyz
	ready   atomic.Bool
	changes atomic.Int32 // of ready

	supervisor *os.Process
	lifeline   io.Closer     // the server is killed when this is closed
	done       chan struct{} // closed when the server has ended
}

// supervise runs its arguments until they end, or until standard input does, which
// it does when the test binary is gone, however it went: then it kills them. SIGTERM is
// passed on.
const supervise = `
exec 3<&0
"$0" "$@" </dev/null 3<&- & server=$!
trap 'kill -TERM $server' TERM
{ cat <&3 >/dev/null; kill -KILL $server; } &
wait $server; wait $server`

// start runs the process, with its log beside its configuration.
func (r *replica) start(t *testing.T) {
	t.Helper()
	logFile, err := os.OpenFile(r.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	cmd := exec.Command("sh", "-c", supervise, r.binary, "serve", "--config", r.config)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if r.lifeline, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	r.supervisor, r.done = cmd.Process, done
	go func() {
		_ = cmd.Wait() // how it ended is in the log
		close(done)
	}()
}

// kill ends the process with SIGKILL: at any line, with nothing put in order.
func (r *replica) kill() {
	_ = r.lifeline.Close() // it may have ended
	<-r.done
}

// stop ends the process as the kubelet does, and waits until it has ended.
func (r *replica) stop(t *testing.T) {
	t.Helper()
	if err := r.supervisor.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-r.done
	_ = r.lifeline.Close()
}

// log is where the process writes.
func (r *replica) log() string {
	return filepath.Join(filepath.Dir(r.config), fmt.Sprintf("log%d", r.number))
}

// probe asks for readiness until ctx ends.
func (r *replica) probe(ctx context.Context) {
	client := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		if ready := r.answersReady(ctx, client); ctx.Err() == nil && r.ready.Swap(ready) != ready {
			r.changes.Add(1)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// answersReady asks once.
func (r *replica) answersReady(ctx context.Context, client *http.Client) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.ops+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	answer, err := client.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// awaitReady waits until traffic goes to the replica.
func (r *replica) awaitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	err := poll(ctx, func() error {
		select {
		case <-r.done:
			return errors.New("it has ended")
		default:
		}
		if !r.ready.Load() {
			return errors.New("it is not ready")
		}
		return nil
	})
	if err != nil {
		text, _ := os.ReadFile(r.log())
		t.Fatalf("server %d: %v; its log:\n%s", r.number, err, tail(text))
	}
}

// poll asks until there is no error, or ctx ends; then it returns the last one.
func poll(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// wait waits for a time, or for the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// tail returns the end of a log.
func tail(text []byte) []byte {
	const most = 4000
	return text[max(0, len(text)-most):]
}

// freeAddress returns an address of this host that nobody listens on, even while the
// server that it is for is dead.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := acmetest.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}
