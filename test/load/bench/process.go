package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
)

// process is a server that runs.
type process struct {
	cmd          *exec.Cmd
	done         chan struct{} // closed when it has ended
	logFile      string
	directoryURL string
}

// start runs a command, whose log goes to a file of the lab, and waits until it
// serves its directory.
func (l *lab) start(ctx context.Context, directoryURL string, cmd *exec.Cmd) (*process, error) {
	log, err := os.CreateTemp(l.dir, "log")
	if err != nil {
		return nil, fmt.Errorf("log of a server: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	// Its own group: an interrupt from the terminal is for this program, which stops it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{cmd: cmd, done: make(chan struct{}), logFile: log.Name(), directoryURL: directoryURL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	if err := p.await(ctx, l); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// await waits until the server serves its directory.
func (p *process) await(ctx context.Context, l *lab) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: l.roots()}}
	defer transport.CloseIdleConnections()
	for {
		_, err := acmetest.Dial(ctx, &http.Client{Transport: transport}, p.directoryURL, nil)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it served: %s\n%s", p.cmd.Path, p.cmd.ProcessState, p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w\n%s", p.cmd.Path, err, p.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the server, by force where it takes too long.
func (p *process) stop() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended by itself: %s\n%s", p.cmd.Path, p.cmd.ProcessState, p.logTail())
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be ending just now
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	return os.Remove(p.logFile)
}

// logTail returns the end of what the server said.
func (p *process) logTail() string {
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return ""
	}
	const most = 2000
	return string(bytes.TrimSpace(text[max(0, len(text)-most):]))
}
