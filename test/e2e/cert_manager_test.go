//go:build e2e

package e2e

import (
	"context"
	"testing"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// Not parallel: every other test needs cert-manager.
func TestClusterIssuerIsMadeOnceCertManagerIsThere(t *testing.T) {
	n := newNamespace(t)
	t.Cleanup(func() { n.certManager(context.Background(), t, "install") })
	n.certManager(t.Context(), t, "uninstall")

	server := n.apply(t, "internal", v1alpha1.AcmeServerSpec{ClusterIssuer: throughIngress()})
	n.awaitCondition(t, server, v1alpha1.ConditionAvailable, v1alpha1.ReasonServing)
	n.awaitCondition(t, server, v1alpha1.ConditionClusterIssuerReady, v1alpha1.ReasonCertManagerMissing,
		"install it", "spec.clusterIssuer.enabled")
	n.awaitCondition(t, server, v1alpha1.ConditionReady, v1alpha1.ReasonCertManagerMissing)

	n.certManager(t.Context(), t, "install")
	n.awaitReady(t, server)
	n.issue(t, server, "web", "web."+n.name+".apps.test")

	// Taken away again, it takes the ClusterIssuer with it, and is not waited for.
	n.certManager(t.Context(), t, "uninstall")
	n.awaitCondition(t, server, v1alpha1.ConditionClusterIssuerReady, v1alpha1.ReasonCertManagerMissing)
	n.delete(t, server)
}

// certManager installs or uninstalls cert-manager.
func (n *namespace) certManager(ctx context.Context, t *testing.T, what string) {
	t.Helper()
	if err := n.script(ctx, "cert-manager", what); err != nil {
		t.Fatal(err)
	}
}
