package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// hooks is a web server by which the hook scripts of programs put responses where
// validators look for them. Its paths are the challenge types.
type hooks struct {
	url    string
	zone   *zone
	http01 *acmetest.HTTP01
	alpn   *acmetest.TLSALPN01
}

// startHooks starts the server, and the responders for the ways to prove control
// that the program has no server for.
func startHooks(t *testing.T, l *lab, by ...acme.ChallengeType) *hooks {
	t.Helper()
	address := loopback(freePort(t))
	h := &hooks{url: "http://" + address, zone: l.zone}
	for _, way := range by {
		switch way {
		case acme.HTTP01:
			h.http01 = l.http01(t)
		case acme.TLSALPN01:
			h.alpn = l.tlsALPN01(t)
		}
	}
	serve(t, &http.Server{Addr: address, Handler: h, ReadHeaderTimeout: 10 * time.Second})
	return h
}

// ServeHTTP takes one response.
func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.take(acme.ChallengeType(filepath.Base(r.URL.Path)), r.FormValue); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// take puts a response where validators look for it.
func (h *hooks) take(by acme.ChallengeType, value func(string) string) error {
	switch {
	case by == acme.DNS01:
		h.zone.add("_acme-challenge."+value("name"), value("value"))
	case by == acme.HTTP01 && h.http01 != nil:
		h.http01.Set(value("token"), value("value"))
	case by == acme.TLSALPN01 && h.alpn != nil:
		certificate, err := tls.LoadX509KeyPair(value("certificate"), value("key"))
		if err != nil {
			return err
		}
		h.alpn.SetCertificate(value("name"), &certificate)
	default:
		return fmt.Errorf("the program was not expected to respond to %q by a hook", by)
	}
	return nil
}

// program is a client that is a command, with its directory.
type program struct {
	command string // and the Debian package that has it
	lab     *lab
	dir     string
	env     []string // all of it
}

// newProgram returns a client's command, which must be installed.
func newProgram(t *testing.T, l *lab, command string, env ...string) *program {
	t.Helper()
	mustHave(t, command, command)
	mustHave(t, "curl", "curl") // for the hooks
	dir := filepath.Join(l.dir, command)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return &program{command: command, lab: l, dir: dir, env: traced(t, env...)}
}

// mustHave fails the test where a command is not installed.
func mustHave(t *testing.T, command, debianPackage string) {
	t.Helper()
	if err := missing(command, debianPackage); err != nil {
		t.Fatal(err)
	}
}

// missing says what to install where a command is not there.
func missing(command, debianPackage string) error {
	if _, err := exec.LookPath(command); err != nil {
		return fmt.Errorf("%w: install it (Debian, Ubuntu: apt-get install %s)", err, debianPackage)
	}
	return nil
}

// run runs the command, and returns what it said; in an error too.
func (p *program) run(ctx context.Context, args ...string) (string, error) {
	return p.runAs(ctx, append([]string{p.command}, args...))
}

// runAs is run of a whole command line.
func (p *program) runAs(ctx context.Context, line []string) (string, error) {
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = p.dir
	cmd.Env = p.env
	cmd.WaitDelay = 5 * time.Second // for what it started
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", p.command, errors.Join(err, ctx.Err()), out)
	}
	return string(out), err
}

// script writes a shell script that can be run, and returns its path.
func (p *program) script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\nset -eu\n"+text), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return path
}

// onlyMatch returns the one file that a pattern below the program's directory has.
func (p *program) onlyMatch(pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(p.dir, pattern))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s left %d files of %s, and should have left one", p.command, len(found), pattern)
	}
	return found[0], nil
}
