//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// The name server of hack/kind/nameserver, and where cert-manager looks for the
// Secrets of a ClusterIssuer.
const (
	nameServer           = "bind.bind.svc.cluster.local:53"
	updateKey            = "update-key"
	clusterResources     = "cert-manager"
	rfc2136Configuration = `{"dns01": {"rfc2136": {"nameserver": %q, "tsigKeyName": %q, "tsigAlgorithm": "HMACSHA256",
		"tsigSecretSecretRef": {"name": %q, "key": "secret"}}}}`
)

// cert-manager puts the challenge into BIND by a dynamic update, and the server
// finds it there by the cluster's resolver. One name: cert-manager proves those of a
// domain one after the other, and waits for a minute after each update.
func TestCertificateIsIssuedAfterDNS01ThroughANameServer(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	secret := n.copyUpdateKey(t)
	solver := v1alpha1.Solver{RawExtension: runtime.RawExtension{Raw: fmt.Appendf(nil, rfc2136Configuration, nameServer, updateKey, secret)}}
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{ClusterIssuer: v1alpha1.ClusterIssuerSpec{Solvers: []v1alpha1.Solver{solver}}})
	n.issue(t, server, "wildcard", "*."+n.name+".dns.test")
}

// copyUpdateKey puts the key of the name server where the solvers of ClusterIssuers
// find it, and returns the Secret's name. It stays: cert-manager takes challenges out
// again with it, when they and the test are over, and lets go of them after that only.
func (n *namespace) copyUpdateKey(t *testing.T) string {
	t.Helper()
	var key corev1.Secret
	if err := n.client.Get(t.Context(), client.ObjectKey{Namespace: "bind", Name: updateKey}, &key); err != nil {
		t.Fatal(err)
	}
	clusterWide := &namespace{environment: n.environment, name: clusterResources}
	clusterWide.secret(t, updateKey, map[string][]byte{"secret": key.Data["secret"]})
	return updateKey
}
