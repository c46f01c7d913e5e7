// Package postgrestest gives tests a real Postgres: a database of their own each,
// cloned in a moment from one that has all migrations.
//
// It promises that a test which cannot have one fails and says what to install,
// and that nothing is left when the test binary has gone, however it went. The
// server is $ACME_TEST_POSTGRES_URL, where that is set, whose role must be allowed
// to create databases; else one that is started from the system's own binaries,
// once in each test binary, and listens on a Unix socket only.
package postgrestest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme/postgres"
)

// EnvURL names the environment variable with the URL of a server to use.
const EnvURL = "ACME_TEST_POSTGRES_URL"

// startTimeout bounds the start of a server and the making of a database.
const startTimeout = time.Minute

// shared is the server of this test binary: starting one takes a second or two, and
// tests have no common place but the package to keep it. It ends with the binary.
var shared = sync.OnceValues(func() (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if url := os.Getenv(EnvURL); url != "" {
		return Use(ctx, url)
	}
	return Start(ctx, Options{})
})

// New returns a store on a database of the test's own, which ends with the test.
func New(t testing.TB) *postgres.Store {
	t.Helper()
	return Open(t, postgres.Config{URL: URL(t)})
}

// Open returns a store with a configuration, and closes it when the test ends. It waits
// for a connection as long as a machine takes that runs many tests at once.
func Open(t testing.TB, cfg postgres.Config) *postgres.Store {
	t.Helper()
	cfg.AcquireTimeout = cmp.Or(cfg.AcquireTimeout, startTimeout)
	store, err := postgres.New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(store.Close)
	return store
}

// URL returns the URL of a migrated database of the test's own.
func URL(t testing.TB) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("a Postgres for tests: %v", err)
	}
	return server.URL(t)
}

// EmptyURL is [URL] without the migrations.
func EmptyURL(t testing.TB) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("a Postgres for tests: %v", err)
	}
	return server.database(t, "template0")
}

// URL returns the URL of a migrated database of the server that is the test's own.
// It is dropped when the test ends, where the server outlives the tests.
func (s *Server) URL(t testing.TB) string {
	t.Helper()
	template, err := s.template()
	if err != nil {
		t.Fatalf("a migrated database: %v", err)
	}
	return s.database(t, template)
}

// database makes a database from a template.
func (s *Server) database(t testing.TB, template string) string {
	t.Helper()
	name, err := s.create(template)
	if err != nil {
		t.Fatalf("a database for the test: %v", err)
	}
	if s.cmd != nil { // all of it goes with this process: dropping would be most of a test's time
		return s.url(name)
	}
	t.Cleanup(func() {
		if err := s.exec(`DROP DATABASE IF EXISTS ` + name + ` WITH (FORCE)`); err != nil {
			t.Errorf("dropping the database of the test: %v", err)
		}
	})
	return s.url(name)
}

// NewDatabase makes an empty database, for a program that is no test, and returns
// its URL and what drops it again.
func (s *Server) NewDatabase() (url string, drop func() error, err error) {
	name, err := s.create("template0")
	if err != nil {
		return "", nil, fmt.Errorf("new database: %w", err)
	}
	return s.url(name), func() error { return s.exec(`DROP DATABASE ` + name + ` WITH (FORCE)`) }, nil
}

// create makes a database from a template and returns its name, which no other has.
func (s *Server) create(template string) (string, error) {
	name := "test_" + strings.ToLower(rand.Text())
	return name, s.exec(`CREATE DATABASE ` + name + ` TEMPLATE ` + template)
}

// makeTemplate makes the database that those of tests are clones of. Its name is
// new, as the server of the environment may be that of other test binaries too.
func (s *Server) makeTemplate() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	name := "template_" + strings.ToLower(rand.Text())
	if err := s.exec(`CREATE DATABASE ` + name + ` TEMPLATE template0`); err != nil {
		return "", err
	}
	return name, postgres.Migrate(ctx, postgres.Config{URL: s.url(name)})
}

// exec runs a statement in the server's own database.
func (s *Server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url(""))
	if err != nil {
		return fmt.Errorf("%w%s", err, s.log())
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
