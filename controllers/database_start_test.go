package controllers

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// embedded is the embedded database as its pod runs it, without the pod.
type embedded struct {
	dir        string
	port       int
	roots      []byte
	credential *syscall.Credential
	process    *exec.Cmd
}

func TestEmbeddedDatabaseTakesTheServersAndNobodyElse(t *testing.T) {
	t.Parallel()
	d := newEmbedded(t)
	d.write(t, "password/password", "first")
	// What a start that was killed half-way leaves is not in the way.
	d.write(t, "volume/data.new/rubbish", "")
	d.start(t)
	for _, test := range []struct {
		name, url, refusal string
	}{
		{"the servers' role", d.url("acme", "first", "acme", "verify-full"), ""},
		{"a wrong password", d.url("acme", "other", "acme", "verify-full"), "password authentication failed"},
		{"no TLS", d.url("acme", "first", "acme", "disable"), "no encryption"},
		{"another database", d.url("acme", "first", "postgres", "verify-full"), "no pg_hba.conf entry"},
		{"the superuser", d.url("postgres", "", "acme", "verify-full"), "no pg_hba.conf entry"},
	} {
		err := d.connect(t, test.url, test.name != "no TLS")
		if test.refusal == "" && err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.refusal != "" && (err == nil || !strings.Contains(err.Error(), test.refusal)) {
			t.Errorf("%s: the error is %v, and should say %q", test.name, err, test.refusal)
		}
	}

	// Killed, and started with another password in the Secret: the data are there.
	d.stop(t, syscall.SIGKILL)
	const second = `it's "$HOME" \ 2`
	d.write(t, "password/password", second)
	d.start(t)
	current, wanted, err := postgres.SchemaVersion(t.Context(), postgres.Config{
		URL: d.url("acme", second, "acme", "verify-full"), RootCAs: d.roots, Schema: "acme",
	})
	if err != nil || current != wanted {
		t.Errorf("after a crash and with another password, the schema's version is %d of %d (%v)", current, wanted, err)
	}
	if err := d.connect(t, d.url("acme", "first", "acme", "verify-full"), true); err == nil {
		t.Error("the former password is still good")
	}
	if log := d.log(t); strings.Contains(log, "first") || strings.Contains(log, "HOME") {
		t.Errorf("the log has a password:\n%s", log)
	}
	d.stop(t, syscall.SIGINT)
}

// newEmbedded lays out the files that the pod mounts.
func newEmbedded(t *testing.T) *embedded {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a free port
	must(t, err)
	// Not t.TempDir, whose parent only its maker may enter.
	dir, err := os.MkdirTemp("", "acme-database-") //nolint:usetesting // see above
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &embedded{dir: dir, port: listener.Addr().(*net.TCPAddr).Port}
	must(t, listener.Close())
	d.credential = unprivileged(t)
	d.own(t, "")
	pair, err := newDatabaseCertificate([]string{"localhost"}, 24*time.Hour, time.Now())
	must(t, err)
	d.roots = pair.Roots
	for name, text := range render.DatabaseConfig() {
		d.write(t, "config/"+name, text)
	}
	d.write(t, "tls/tls.crt", string(pair.Certificate))
	d.write(t, "tls/tls.key", string(pair.Key))
	d.mkdir(t, "volume")
	d.mkdir(t, "sockets")
	return d
}

// unprivileged returns whom PostgreSQL runs as, which must not be root.
func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	must(t, err)
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	must(t, err)
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	must(t, err)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// mkdir makes a folder that PostgreSQL may write to.
func (d *embedded) mkdir(t *testing.T, name string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(d.dir, name), 0o700))
	d.own(t, name)
}

// write makes a file that PostgreSQL may read.
func (d *embedded) write(t *testing.T, name, text string) {
	t.Helper()
	d.mkdir(t, filepath.Dir(name))
	must(t, os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600))
	d.own(t, name)
}

func (d *embedded) own(t *testing.T, name string) {
	t.Helper()
	if d.credential != nil {
		must(t, os.Chown(filepath.Join(d.dir, name), int(d.credential.Uid), int(d.credential.Gid)))
	}
}

// command runs one of the scripts as the pod does.
func (d *embedded) command(ctx context.Context, script string) *exec.Cmd {
	command := exec.CommandContext(ctx, "/bin/sh", filepath.Join(d.dir, "config", script)) //nolint:gosec // a script of ours
	command.Dir = d.dir
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/tmp", "DATABASE_PORT=" + strconv.Itoa(d.port),
		"DATABASE_VOLUME=" + filepath.Join(d.dir, "volume"), "DATABASE_CONFIG=" + filepath.Join(d.dir, "config"),
		"DATABASE_TLS=" + filepath.Join(d.dir, "tls"), "DATABASE_SOCKETS=" + filepath.Join(d.dir, "sockets"),
		"DATABASE_PASSWORD_FILE=" + filepath.Join(d.dir, "password", "password"),
	}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: d.credential}
	return command
}

// start starts PostgreSQL and waits until its readiness probe succeeds.
func (d *embedded) start(t *testing.T) {
	t.Helper()
	d.process = d.command(context.Background(), "start.sh")
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	d.process.Stdout, d.process.Stderr = log, log
	must(t, d.process.Start())
	must(t, log.Close())
	t.Cleanup(func() { _ = d.process.Process.Kill() })
	ended := make(chan error, 1)
	process := d.process
	go func() { ended <- process.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for {
		select {
		case err := <-ended:
			t.Fatalf("start.sh ended (%v); PostgreSQL is installed by hack/postgres/ensure\n%s", err, d.log(t))
		case <-timeout:
			t.Fatalf("PostgreSQL is not ready after a minute\n%s", d.log(t))
		case <-tick.C:
			if d.command(t.Context(), "ready.sh").Run() == nil && d.listens() {
				return
			}
		}
	}
}

// log is what PostgreSQL and the script have written.
func (d *embedded) log(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(d.dir, "log"))
	must(t, err)
	return string(data)
}

// listens reports whether the port is open: the file that ready.sh reads may be
// that of a process which was killed.
func (d *embedded) listens() bool {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", d.port), time.Second) //nolint:noctx // bounded
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// stop sends a signal to PostgreSQL and waits until all of its processes have
// ended: the others follow the first.
func (d *embedded) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	must(t, syscall.Kill(d.process.Process.Pid, signal))
	for deadline := time.Now().Add(time.Minute); d.running(t); {
		if time.Now().After(deadline) {
			t.Fatalf("PostgreSQL does not end\n%s", d.log(t))
		}
	}
}

// running reports whether a process of PostgreSQL is left: each works in the
// folder of the data.
func (d *embedded) running(t *testing.T) bool {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	must(t, err)
	return slices.ContainsFunc(links, func(link string) bool {
		folder, err := os.Readlink(link)
		return err == nil && folder == filepath.Join(d.dir, "volume", "data")
	})
}

// url returns a connection URI.
func (d *embedded) url(role, password, name, mode string) string {
	return fmt.Sprintf("postgresql://localhost:%d/%s?sslmode=%s&user=%s&password=%s&connect_timeout=10",
		d.port, name, mode, role, url.PathEscape(password))
}

// connect migrates the schema, as the operator does.
func (d *embedded) connect(t *testing.T, uri string, verified bool) error {
	t.Helper()
	cfg := postgres.Config{URL: uri, Schema: "acme"}
	if verified {
		cfg.RootCAs = d.roots
	}
	return postgres.Migrate(t.Context(), cfg)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
