package postgres

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestABrokenURLSaysWhatIsWrongAndNotThePassword(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	for _, test := range []struct{ url, want string }{
		{"postgresql://u:" + password + "@host:port/db", "invalid port"},
		{"postgresql://u:" + password + "@host/db?sslmode=loud", "sslmode is invalid"},
		{"postgresql://u:" + password + "@host/db?pool_max_conns=many", "pool_max_conns"},
		{"postgresql://u:" + password + "@host/db?sslrootcert=/does/not/exist&sslmode=verify-full", "sslrootcert is not for a URL"},
		{"postgresql://u@host/db?password=x&" + password + "=", "one of its keys is not for a URL"},
		{"postgresql://u:" + password + "%zz@host/db", "percent-encoded"},
		{"u:" + password + "@host/db", "postgresql://"},
		{"postgresql://u:" + password + "@host/db?synchronous_commit=off", "synchronous_commit=off"},
		{"host=h user=u password=" + password + " " + password, "postgresql://"},
		{"host=h password='" + password, "postgresql://"},
	} {
		_, err := New(t.Context(), Config{URL: test.url})
		if err == nil {
			t.Errorf("%s: no error", test.url)
			continue
		}
		if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), password[:4]) {
			t.Errorf("%s: error %q; want %q in it, and nothing of the password", test.url, err, test.want)
		}
	}
}

func TestAURLNamesNoFilesAndSetsNothingOfAPool(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{
		"sslrootcert": "/dev/zero", "sslcert": "/dev/zero", "sslkey": "/dev/zero", "passfile": "/dev/zero", "servicefile": "/dev/zero",
		"service": "other", "pool_health_check_period": "0s", "pool_max_conns": "100000", "statement_cache_capacity": "1",
	} {
		for _, url := range []string{
			"postgresql://u:p@host.invalid/db?" + key + "=" + value,
			"host=host.invalid user=u password=p dbname=db " + key + "=" + value,
		} {
			// It would not come back from reading /dev/zero.
			_, err := poolConfig(Config{URL: url}.withDefaults())
			if err == nil || !strings.Contains(err.Error(), "is not for a URL to say, which has host, port,") {
				t.Errorf("%s: the error is %v", url, err)
			}
		}
	}
	for _, url := range []string{
		"postgresql://app:p@cluster-rw.pki:5432/app", // as CloudNativePG writes it
		"postgresql://u:p@a.test,b.test/db?sslmode=verify-full&connect_timeout=3&application_name=x&target_session_attrs=primary",
		"host=a.test user=u password=p dbname=db sslmode=require channel_binding=require",
	} {
		pc, err := poolConfig(Config{URL: url}.withDefaults())
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if pc.ConnConfig.MaxProtocolMessageBodyLen == 0 {
			t.Errorf("%s: a message of the database has no bound", url)
		}
	}
}

func TestWhatIsNoDatabaseIsLeft(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, says, want string
		patience         time.Duration
	}{
		{"it says nothing", "", "deadline exceeded", 300 * time.Millisecond},
		{"it announces a message of a gigabyte", "R\x3f\xff\xff\xff", "expected at most 4194304", time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), test.patience)
			defer cancel()
			_, err := Pending(ctx, Config{URL: "postgresql://u:p@" + says(t, test.says) + "/db?sslmode=disable"})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v; want %q in it", err, test.want)
			}
		})
	}
}

// says returns the address of a server that says something to each that comes, and
// waits until they go.
func says(t *testing.T, what string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a free port
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Write([]byte(what))
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func TestAnEmptyURLIsNoDatabase(t *testing.T) {
	t.Parallel()
	if _, err := New(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "connection URI is empty") {
		t.Errorf("error %v; want that there is no URI", err)
	}
}

func TestWithRootsEveryHostIsVerified(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for _, mode := range []string{"", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require"} {
		pc, err := poolConfig(Config{URL: "postgresql://u:p@a.test,b.test:6432/db" + mode, RootCAs: roots}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		names := []string{pc.ConnConfig.TLSConfig.ServerName}
		for _, f := range pc.ConnConfig.Fallbacks {
			if f.TLSConfig == nil || f.TLSConfig.InsecureSkipVerify {
				t.Errorf("%s: host %s is not verified", mode, f.Host)
				continue
			}
			names = append(names, f.TLSConfig.ServerName)
		}
		if strings.Join(names, " ") != "a.test b.test" {
			t.Errorf("%s: verified names %q; want a.test and b.test", mode, names)
		}
		if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(roots) || !pc.ConnConfig.TLSConfig.RootCAs.Equal(pool) {
			t.Errorf("%s: verified against other roots", mode)
		}
	}
	if _, err := New(t.Context(), Config{URL: "postgresql://host/db", RootCAs: []byte("no PEM")}); err == nil {
		t.Error("roots that are none: no error")
	}
	if _, err := New(t.Context(), Config{URL: "postgresql:///db?host=/tmp", RootCAs: roots}); err == nil {
		t.Error("roots for a Unix socket: no error")
	}
}
