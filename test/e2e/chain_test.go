//go:build e2e

package e2e

import (
	"crypto/x509"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// One authority whom two roots have signed: who asks for nothing gets the chain to the
// first, and an Issuer that prefers the second the chain to that.
func TestCertManagerGetsThePreferredChain(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	root, second := newAuthority(t, "Example Root CA"), newAuthority(t, "Second Root CA")
	issuing := root.intermediate(t, "Example Issuing CA")
	pair := issuing.pair(t)
	n.secret(t, "example-ca", map[string][]byte{"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": root.pem})
	n.secret(t, "cross-signed", map[string][]byte{"chains.pem": second.crossSign(t, issuing)})
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{
		CA: v1alpha1.CertificateAuthoritySpec{
			SecretRef:          &v1alpha1.SecretReference{Name: "example-ca"},
			AlternateChainsRef: &v1alpha1.AlternateChainsReference{SecretReference: v1alpha1.SecretReference{Name: "cross-signed"}},
		},
		Validation: trusted(),
	})
	n.issue(t, server, "first", "first.example") // verified with the first root

	certificate := n.certificate(server, "second", "second.example")
	certificate.Spec.IssuerRef = n.prefer(t, server, "second", "Second Root CA")
	if err := n.client.Create(t.Context(), certificate); err != nil {
		t.Fatal(err)
	}
	n.awaitCertificate(t, certificate)
	n.mustLeadTo(t, certificate, second)
}

// prefer makes an Issuer like an AcmeServer's ClusterIssuer that prefers a chain, with an
// account of its own.
func (n *namespace) prefer(t *testing.T, server *v1alpha1.AcmeServer, name, chain string) cmmeta.IssuerReference {
	t.Helper()
	issuer := &certmanagerv1.Issuer{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: name},
		Spec:       *n.issuer(t, server).Spec.DeepCopy(),
	}
	issuer.Spec.ACME.PreferredChain = chain
	issuer.Spec.ACME.PrivateKey.Name = name + "-account"
	if err := n.client.Create(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
	return cmmeta.IssuerReference{Kind: "Issuer", Name: name}
}

// mustLeadTo checks that the chain of a Certificate leads to a root, with what is in its
// Secret alone.
func (n *namespace) mustLeadTo(t *testing.T, certificate *certmanagerv1.Certificate, root *authority) {
	t.Helper()
	pair := n.keyPair(t, certificate)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.certificate)
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	for _, host := range certificate.Spec.DNSNames {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between}); err != nil {
			t.Errorf("the chain of %s to %q for %s: %v", certificate.Name, root.certificate.Subject, host, err)
		}
	}
}
