package postgres

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestABrokenURLSaysWhatIsWrongAndNotThePassword(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	for _, test := range []struct{ url, want string }{
		{"postgresql://u:" + password + "@host:port/db", "invalid port"},
		{"postgresql://u:" + password + "@host/db?sslmode=loud", "sslmode is invalid"},
		{"postgresql://u:" + password + "@host/db?pool_max_conns=many", "pool_max_conns"},
		{"postgresql://u:" + password + "@host/db?sslrootcert=/does/not/exist&sslmode=verify-full", "CA file"},
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
