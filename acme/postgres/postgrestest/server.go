package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options tells what kind of server to start.
type Options struct {
	// Fsync makes commits wait for the disk, as in production: for benchmarks, and
	// for tests of crashes. Without it a commit is fast and a crash loses it.
	Fsync bool
	// Dir is where the server keeps its files, in a new directory; default
	// [os.TempDir].
	Dir string
}

// Server is a Postgres for tests.
type Server struct {
	base     *url.URL
	template func() (string, error)

	// Of a server that was started here:
	dir      string
	cmd      *exec.Cmd
	lifeline io.WriteCloser // the supervisor stops the server when this is closed
	done     chan struct{}
	over     atomic.Bool
}

// Use returns a server that is running already.
func Use(ctx context.Context, rawURL string) (*Server, error) {
	base, err := url.Parse(rawURL)
	if err != nil || base.Scheme == "" {
		return nil, fmt.Errorf("$%s is not a URL (postgresql://…)", EnvURL)
	}
	s := &Server{base: base}
	s.template = sync.OnceValues(s.makeTemplate)
	return s, s.await(ctx)
}

// supervise makes a data directory in $0 with the binaries in $1 and runs Postgres
// on it, until standard input ends, which it does when the test binary is gone,
// however it went; then it removes the directory. At each line it starts the server
// again, once it has ended. The arguments after those two are Postgres's.
const supervise = `
dir=$0 bin=$1; shift
"$bin/initdb" -D "$dir/data" --username=acme --auth=trust --encoding=UTF8 --locale=C \
	--no-sync --no-instructions >"$dir/initdb" 2>&1 || { cat "$dir/initdb"; exit 1; }
run() { "$bin/postgres" -D "$dir/data" "$@" & server=$!; }
run "$@"
while read -r _; do wait $server; run "$@"; done
kill -QUIT $server 2>/dev/null; wait $server
rm -rf "$dir"`

// Start makes a data directory and starts a server on it. It ends with [Server.Stop],
// or with this process.
func Start(ctx context.Context, o Options) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	credential, owner, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "acmepg")
	if err != nil {
		return nil, fmt.Errorf("directory of the server: %w", err)
	}
	s := &Server{dir: dir, done: make(chan struct{})}
	// A connection may take as long as a machine needs that runs many tests at once.
	query := url.Values{"host": {dir}, "connect_timeout": {strconv.Itoa(int(startTimeout.Seconds()))}}
	s.base = &url.URL{Scheme: "postgresql", User: url.User("acme"), Path: "/postgres", RawQuery: query.Encode()}
	s.template = sync.OnceValues(s.makeTemplate)
	if err := errors.Join(owner.own(dir), s.launch(bin, credential, o)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// launch starts the supervisor, and it the server.
func (s *Server) launch(bin string, credential *syscall.Credential, o Options) error {
	logFile, err := os.Create(s.logFile())
	if err != nil {
		return fmt.Errorf("log of the server: %w", err)
	}
	defer logFile.Close()
	args := []string{
		"-c", supervise, s.dir, bin,
		"-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=300", "-c", "max_wal_size=4GB",
	}
	if !o.Fsync {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
	}
	cmd := exec.Command("sh", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, logFile, logFile
	// Its own group: an interrupt from the terminal is for the tests, which then end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential}
	if s.lifeline, err = cmd.StdinPipe(); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	s.cmd = cmd
	go func() {
		_ = cmd.Wait() // what it has to say is in the log
		close(s.done)
	}()
	return nil
}

// await waits until the server takes connections.
func (s *Server) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.url(""))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w%s", err, s.log())
		case <-s.done: // nil, and so never ready, where the server is not ours
			return fmt.Errorf("the server ended: %w%s", err, s.log())
		case <-tick.C:
		}
	}
}

// Stop ends a server that Start returned, at once, and removes its files. It does
// nothing to one of [Use].
func (s *Server) Stop() error {
	if s.cmd == nil || s.over.Swap(true) {
		return nil
	}
	_ = s.Signal(syscall.SIGCONT) // one that was paused would not hear the rest
	err := s.lifeline.Close()
	<-s.done
	return errors.Join(err, os.RemoveAll(s.dir)) // where the supervisor could not
}

// Signal sends a signal to all processes of a server that Start returned: SIGSTOP
// makes one that does not answer, and is waited for; SIGCONT ends that.
func (s *Server) Signal(sig syscall.Signal) error {
	for {
		pids, err := s.send(sig)
		if err != nil {
			return err
		}
		// A process may run on for a moment, and may have been started since the list
		// was made.
		if sig != syscall.SIGSTOP || !slices.ContainsFunc(pids, runs) {
			return nil
		}
	}
}

// send sends a signal to the processes that there are, and returns them.
func (s *Server) send(sig syscall.Signal) ([]int, error) {
	pids, err := s.processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		// One that has ended in the meantime needs no signal.
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("signal %v to process %d: %w", sig, pid, err)
		}
	}
	return pids, nil
}

// Kill ends the server as a crash would, but leaves its files. When it returns, no process
// has its memory any more, which the next server would refuse to start beside.
func (s *Server) Kill() error {
	pids, err := s.send(syscall.SIGKILL)
	if err != nil {
		return err
	}
	for slices.ContainsFunc(pids, runs) { // one that waits for the disk goes on until it has it
		<-time.After(time.Millisecond)
	}
	return nil
}

// Restart starts a server that was killed, and waits until it has recovered.
func (s *Server) Restart(ctx context.Context) error {
	if _, err := io.WriteString(s.lifeline, "\n"); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	return s.await(ctx)
}

// url returns the URL of a database, or of the server's own where name is empty.
func (s *Server) url(name string) string {
	u := *s.base
	if name != "" {
		u.Path = "/" + name
	}
	return u.String()
}

// data is the data directory.
func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// logFile is what the server says.
func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// log returns the end of what the server said, for an error.
func (s *Server) log() string {
	if s.dir == "" {
		return ""
	}
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return ""
	}
	const most = 2000
	return "\n" + string(bytes.TrimSpace(text[max(0, len(text)-most):]))
}

// binaries returns the directory with the newest initdb and postgres.
func binaries() (string, error) {
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // Debian; the pattern is well formed
	slices.SortFunc(candidates, func(a, b string) int { return majorOf(b) - majorOf(a) })
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, string(bytes.TrimSpace(out)))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	for _, dir := range candidates {
		if isFile(filepath.Join(dir, "initdb")) && isFile(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no initdb and postgres in $PATH, by pg_config or in /usr/lib/postgresql: install the "+
		"Postgres server (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql), or set $%s", EnvURL)
}

// majorOf returns the version in a path like /usr/lib/postgresql/17/bin, or 0.
func majorOf(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

// isFile reports whether there is a file.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// ownership is the user that the server's files are given to; zero for this one.
type ownership struct{ uid, gid int }

// own gives a directory to the user.
func (o ownership) own(dir string) error {
	if o == (ownership{}) {
		return nil
	}
	if err := os.Chown(dir, o.uid, o.gid); err != nil {
		return fmt.Errorf("directory of the server: %w", err)
	}
	return nil
}

// unprivileged returns whom to run the server as: Postgres refuses to be root.
func unprivileged() (*syscall.Credential, ownership, error) {
	if os.Geteuid() != 0 {
		return nil, ownership{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, ownership{}, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, ownership{int(uid), int(gid)}, nil
	}
	return nil, ownership{}, errors.New("Postgres refuses to run as root, and there is no user postgres or nobody to run it as")
}
