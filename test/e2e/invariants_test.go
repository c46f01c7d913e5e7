//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
	"github.com/acme-ca/acme-ca-operator/test/invariants"
)

// hold holds an AcmeServer's embedded database against what its clients were told.
func (n *namespace) hold(t *testing.T, server *v1alpha1.AcmeServer, f *traffic) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	db := n.connect(t, server)
	for _, invariant := range []struct {
		name  string
		check func() error
	}{
		{"no delivered certificate is unrecorded", func() error { return invariants.Recorded(ctx, db, f.deliveries) }},
		{"no order has two certificates", func() error { return invariants.OneCertificateEach(ctx, db) }},
		{"no order is stuck", func() error { return invariants.NothingIsStuck(ctx, db) }},
		{"no nonce was taken twice", func() error { return invariants.NoncesAreTakenOnce(f.answers.all) }},
		{"no limit was exceeded, and nothing was spent in vain", func() error {
			return invariants.Count(ctx, db, mostAtOnce, `SELECT count(*) FROM acme.orders WHERE identifiers::text LIKE '%.greedy.example%'`)
		}},
	} {
		if err := invariant.check(); err != nil {
			t.Errorf("%s: %v", invariant.name, err)
		}
	}
}

// forwarding is what `kubectl port-forward` says when it listens.
var forwarding = regexp.MustCompile(`^Forwarding from 127\.0\.0\.1:(\d+) `)

// connect connects to an AcmeServer's embedded database, as its servers do, through the
// API server: the NetworkPolicy lets nobody else in.
func (n *namespace) connect(t *testing.T, server *v1alpha1.AcmeServer) *pgx.Conn {
	t.Helper()
	var secret corev1.Secret
	if err := n.client.Get(t.Context(), client.ObjectKey{Namespace: n.name, Name: render.DatabaseName(server)}, &secret); err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(string(secret.Data[render.DatabaseURIKey]))
	if err != nil {
		t.Fatal("the database's URI cannot be read") // the error may have the password
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data[render.RootsKey]) {
		t.Fatalf("Secret %s has no %s", secret.Name, render.RootsKey)
	}
	config.TLSConfig = &tls.Config{RootCAs: roots, ServerName: config.Host, MinVersion: tls.VersionTLS12}
	address := n.forward(t, render.DatabaseName(server)+"-0", config.Port)
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	db, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	return db
}

// forward forwards a port of a pod until the test ends, and returns where to.
func (n *namespace) forward(t *testing.T, pod string, port uint16) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), n.kubectl, "--kubeconfig", n.kubeconfig, "-n", n.name,
		"port-forward", "--address=127.0.0.1", "pod/"+pod, ":"+strconv.Itoa(int(port)))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if found := forwarding.FindStringSubmatch(lines.Text()); found != nil {
			return net.JoinHostPort("127.0.0.1", found[1])
		}
	}
	t.Fatalf("kubectl port-forward of %s ended", pod)
	return ""
}
