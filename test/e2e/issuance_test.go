//go:build e2e

package e2e

import (
	"bytes"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// The main job: nothing is said but how cert-manager reaches this cluster's ingress.
func TestCertificateIsIssuedAfterHTTP01ThroughTheIngressController(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{ClusterIssuer: throughIngress()})

	leaf := n.issue(t, server, "web", "web."+n.name+".apps.test", "www."+n.name+".apps.test")

	if got, want := leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour), 90*24*time.Hour; got > want+time.Hour || got < want-time.Hour {
		t.Errorf("the certificate is valid for %s; the default profile says %s", got, want)
	}
	if bits := leaf.SerialNumber.BitLen(); bits < 120 || bits > 128 {
		t.Errorf("the serial number %x has %d bits; want 128, of which the first is 0", leaf.SerialNumber, bits)
	}
	if len(leaf.CRLDistributionPoints) == 0 || len(leaf.IssuingCertificateURL) == 0 {
		t.Errorf("CRL %q and issuer %q: want a URL each", leaf.CRLDistributionPoints, leaf.IssuingCertificateURL)
	}
	t.Run("and its pods can do little", func(t *testing.T) { n.testPods(t, server) })
}

// testPods checks what a stranger who breaks into a pod would find. That they
// satisfy the restricted standard is clear from their being there: every
// namespace of these tests enforces it.
func (n *namespace) testPods(t *testing.T, server *v1alpha1.AcmeServer) {
	var root corev1.Secret
	if err := n.client.Get(t.Context(), client.ObjectKey{Namespace: n.name, Name: render.RootSecretName(server)}, &root); err != nil {
		t.Fatal(err)
	}
	var pods corev1.PodList
	if err := n.client.List(t.Context(), &pods, client.InNamespace(n.name),
		client.MatchingLabels{render.LabelManagedBy: render.Operator}); err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 2 {
		t.Errorf("there are %d pods; want a server and a database", len(pods.Items))
	}
	for _, pod := range pods.Items {
		for _, volume := range pod.Spec.Volumes {
			secrets, token := mounted(volume)
			if token {
				t.Errorf("pod %s has a token of its service account", pod.Name)
			}
			if slices.Contains(secrets, root.Name) {
				t.Errorf("pod %s has the root's key", pod.Name)
			}
		}
		for _, c := range pod.Spec.Containers {
			if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
				t.Errorf("container %s of pod %s can write to its root file system", c.Name, pod.Name)
			}
		}
	}
	// No copy of the root's key may be elsewhere, under whatever name.
	n.forEachSecret(t, func(secret *corev1.Secret) {
		for key, value := range secret.Data {
			if secret.Name != root.Name && bytes.Contains(value, root.Data[corev1.TLSPrivateKeyKey]) {
				t.Errorf("key %s of Secret %s has the root's key", key, secret.Name)
			}
		}
	})
}

// mounted returns the Secrets of a volume, and whether it has a service account's token.
func mounted(volume corev1.Volume) (secrets []string, token bool) {
	if volume.Secret != nil {
		secrets = append(secrets, volume.Secret.SecretName)
	}
	if volume.Projected == nil {
		return secrets, false
	}
	for _, source := range volume.Projected.Sources {
		token = token || source.ServiceAccountToken != nil
		if source.Secret != nil {
			secrets = append(secrets, source.Secret.Name)
		}
	}
	return secrets, token
}

func (n *namespace) forEachSecret(t *testing.T, do func(*corev1.Secret)) {
	t.Helper()
	var secrets corev1.SecretList
	if err := n.client.List(t.Context(), &secrets, client.InNamespace(n.name)); err != nil {
		t.Fatal(err)
	}
	for i := range secrets.Items {
		do(&secrets.Items[i])
	}
}

func TestTrustedServerIssuesForNamesThatLeadNowhere(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{Validation: trusted()})
	n.awaitCondition(t, server, v1alpha1.ConditionIssuanceRestricted, v1alpha1.ReasonTrusted, "spec.validation.mode is Trusted")
	n.issue(t, server, "web", "nowhere.example", "*.nowhere.example")
}

// The operator makes the binding of the ClusterIssuer, and cert-manager uses it.
func TestClusterIssuerHasABindingOfItsOwnWhereExternalAccountsAreRequired(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{
		Validation: trusted(), ExternalAccounts: &v1alpha1.ExternalAccountsSpec{Required: true},
	})
	n.issue(t, server, "web", "bound.example")
}

func TestServersShareADatabaseAsCloudNativePGHandsItOut(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	db := n.newDatabase(t)
	for _, schema := range []string{"one", "two"} {
		spec := v1alpha1.AcmeServerSpec{Database: db.spec(), Validation: trusted()}
		spec.Database.Schema = schema
		server := n.ready(t, schema, spec)
		n.issue(t, server, schema, schema+".example")
	}
	db.testOutage(t)
}

// testOutage takes the database away from servers that are Ready, and gives it back.
func (d *database) testOutage(t *testing.T) {
	server := &v1alpha1.AcmeServer{}
	server.Namespace, server.Name = d.name, "one"
	d.scale(t, 0)
	d.awaitCondition(t, server, v1alpha1.ConditionDatabaseReady, v1alpha1.ReasonUnreachable, "postgres-app", "see that it runs")
	d.awaitCondition(t, server, v1alpha1.ConditionReady, v1alpha1.ReasonUnreachable)
	d.scale(t, 1)
	d.awaitReady(t, server)
	d.issue(t, server, "after", "after.example")
}

func TestAuthorityOfASecretSigns(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	root := newAuthority(t, "Example Root CA")
	pair := root.intermediate(t, "Example Issuing CA").pair(t)
	n.secret(t, "example-ca", map[string][]byte{"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": root.pem})
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{
		CA:         v1alpha1.CertificateAuthoritySpec{SecretRef: &v1alpha1.SecretReference{Name: "example-ca"}},
		Validation: trusted(),
	})
	n.issue(t, server, "web", "web.example")
	if got := n.issuer(t, server).Spec.ACME.CABundle; !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(root.pem)) {
		t.Errorf("the ClusterIssuer trusts\n%s\nwant the Secret's ca.crt\n%s", got, root.pem)
	}
	if err := n.client.Get(t.Context(), client.ObjectKey{Namespace: n.name, Name: render.RootSecretName(server)}, &corev1.Secret{}); err == nil {
		t.Error("the operator made a root of its own")
	}
}
