package conformance

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestARestartBetweenOrderAndFinalizeLosesNothing(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *acmeServer){
		"after SIGTERM": func(t *testing.T, s *acmeServer) { t.Helper(); s.stop(t) },
		"after a crash": func(t *testing.T, s *acmeServer) { t.Helper(); s.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), scenarioTimeout)
			defer cancel()
			l := newLab(t, target{start: startServe}, options{})
			restart := func() {
				end(t, l.server)
				l.server.restart(t)
			}
			c := newXCryptoClient(t, l)
			account := register(ctx, t, c, nil)
			names := []string{"a.conformance.example", "b.conformance.example"}
			made, err := c.AuthorizeOrder(ctx, authzIDs(names))
			if err != nil {
				t.Fatalf("ordering: %v", err)
			}
			restart()
			if err := c.prove(ctx, made, acme.HTTP01); err != nil {
				t.Fatalf("proving the names of an order of before: %v", err)
			}
			restart()
			files, err := c.finalize(ctx, made, &order{names: names})
			if err != nil {
				t.Fatalf("finalizing an order of before: %v", err)
			}
			l.server.verify(t, files, names)
			if found := register(ctx, t, c, nil); found != account {
				t.Errorf("the account was %s, and then %s", account, found)
			}
		})
	}
}

func TestAServerWithoutItsDatabaseIsAliveButNotReadyAndEndsCleanly(t *testing.T) {
	t.Parallel()
	l := newBareLab(t)
	c := serveConfig(t, l, options{})
	writeFile(t, c.Database.URLFile, []byte("postgresql://acme@/acme?host="+l.dir+"\n")) // no socket is there
	writeAuthority(t, &c.CertificateAuthority)
	path := filepath.Join(l.dir, "acmeserver.yaml")
	writeConfig(t, path, c)
	s := &acmeServer{process: startProcess(t, "serve", "--config", path)}
	s.await(t, s.ready(t.Context(), "http://"+c.Listen.Ops+"/healthz"))
	if status := answers(t.Context(), "http://"+c.Listen.Ops+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d, want %d", status, http.StatusServiceUnavailable)
	}
}
