//go:build e2e

package e2e

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// plugin runs `kubectl acme` on an AcmeServer, as a user would who has put it in the PATH.
func (n *namespace) plugin(t *testing.T, server *v1alpha1.AcmeServer) func(command ...string) string {
	t.Helper()
	programs := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", programs, "./cmd/kubectl-acme")
	build.Dir = n.root
	if _, err := output(build); err != nil {
		t.Fatal(err)
	}
	kubectl := filepath.Join(programs, "kubectl")
	if err := os.Symlink(n.kubectl, kubectl); err != nil {
		t.Fatal(err)
	}
	return func(command ...string) string {
		t.Helper()
		args := append([]string{"acme", "--kubeconfig", n.kubeconfig, "-n", n.name, server.Name}, command...)
		cmd := exec.CommandContext(t.Context(), kubectl, args...)
		cmd.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"))
		printed, err := output(cmd)
		if err != nil {
			t.Fatal(err)
		}
		return string(printed)
	}
}

func TestKubectlListsAndRevokesWhatWasIssued(t *testing.T) {
	t.Parallel()
	g, n := gomega.NewWithT(t), newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{Validation: trusted()})
	kept, lost := n.issue(t, server, "kept", "kept.example"), n.issue(t, server, "lost", "lost.example")
	acme := n.plugin(t, server)

	var row struct {
		Serial, Account string
		Names           []string
	}
	if err := json.Unmarshal([]byte(acme("certificates", "list", "--output", "json", "--name", "lost.example")), &row); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%032x", lost.SerialNumber); row.Serial != want {
		t.Errorf("serial number %s; want that of what cert-manager got, %s", row.Serial, want)
	}
	if accounts := acme("accounts", "list"); !strings.Contains(accounts, row.Account+"   valid") {
		t.Errorf("cert-manager's account %s is not among\n%s", row.Account, accounts)
	}
	if told := acme("certificates", "revoke", "--reason", "keyCompromise", row.Serial); !strings.Contains(told, "for lost.example: revoked now") {
		t.Errorf("told of the revocation: %s", told)
	}

	// Whoever fetches the CRL finds it there in seconds.
	address := n.forward(t, n.servers(t, server)[0].Name, 8080)
	g.Eventually(func() ([]string, error) { return revokedAt(address, lost.CRLDistributionPoints[0]) }).
		WithTimeout(20 * time.Second).WithPolling(time.Second).Should(gomega.Equal([]string{lost.SerialNumber.String()}))
	if kept.CRLDistributionPoints[0] != lost.CRLDistributionPoints[0] {
		t.Errorf("one is on the CRL at %s, the other at %s", kept.CRLDistributionPoints[0], lost.CRLDistributionPoints[0])
	}
}

// revokedAt returns the serial numbers on a CRL, which is fetched at an address.
func revokedAt(address, crl string) ([]string, error) {
	u, err := url.Parse(crl)
	if err != nil {
		return nil, err
	}
	resp, err := http.Get("http://" + address + u.Path) //nolint:noctx // a port of this host
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	der, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	var serials []string
	for _, entry := range list.RevokedCertificateEntries {
		serials = append(serials, entry.SerialNumber.String())
	}
	return serials, nil
}
