//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

func TestEditedAcmeServerIsRolledOutUnderOrders(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{Validation: trusted()})
	n.issue(t, server, "first", "first.example") // cert-manager keeps the directory that it read for this
	before := n.issueMany(t, server, "before", orders)

	n.edit(t, server, func(spec *v1alpha1.AcmeServerSpec) {
		spec.Replicas = new(int32(2))
		spec.Hostnames = []string{"acme.corp.example"}
		spec.Profiles = []v1alpha1.Profile{
			{Name: "tlsserver", Lifetime: metav1.Duration{Duration: 720 * time.Hour}},
			{Name: "brief", Lifetime: metav1.Duration{Duration: 2 * time.Hour}, Usages: []v1alpha1.ExtendedKeyUsage{"serverAuth", "clientAuth"}},
		}
		spec.ClusterIssuer.Profile = "brief"
	})
	n.awaitReady(t, server)
	n.awaitAll(t, server, before)

	pods := n.servers(t, server)
	if len(pods) != 2 {
		t.Errorf("there are %d servers; want 2", len(pods))
	}
	for _, pod := range pods {
		if profiles := n.directory(t, pod.Name); len(profiles) != 2 {
			t.Errorf("%s has the profiles %v; want tlsserver and brief", pod.Name, profiles)
		}
	}
	leaf := n.issue(t, server, "after", "after.example")
	if got, want := leaf.NotAfter.Sub(leaf.NotBefore), 2*time.Hour; got > want+time.Minute || got < want-10*time.Minute {
		t.Errorf("the certificate is valid for %s; the profile says %s", got, want)
	}
	if len(leaf.ExtKeyUsage) != 2 {
		t.Errorf("the certificate has the usages %v; want those of the profile", leaf.ExtKeyUsage)
	}
	if !slices.ContainsFunc(leaf.CRLDistributionPoints, func(u string) bool { return strings.HasPrefix(u, "http://acme.corp.example/") }) {
		t.Errorf("the CRL is at %q; want it at the first of hostnames", leaf.CRLDistributionPoints)
	}
}
