//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// request asks cert-manager for a certificate of an AcmeServer's ClusterIssuer.
func (n *namespace) request(t *testing.T, server *v1alpha1.AcmeServer, name string, hosts ...string) *certmanagerv1.Certificate {
	t.Helper()
	certificate := n.certificate(server, name, hosts...)
	if err := n.client.Create(t.Context(), certificate); err != nil {
		t.Fatal(err)
	}
	return certificate
}

// certificate returns a Certificate of an AcmeServer's ClusterIssuer.
func (n *namespace) certificate(server *v1alpha1.AcmeServer, name string, hosts ...string) *certmanagerv1.Certificate {
	return &certmanagerv1.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: name},
		Spec: certmanagerv1.CertificateSpec{
			SecretName: name + "-tls", DNSNames: hosts,
			IssuerRef:  cmmeta.IssuerReference{Kind: "ClusterIssuer", Name: render.ClusterIssuerName(server)},
			PrivateKey: &certmanagerv1.CertificatePrivateKey{Algorithm: certmanagerv1.ECDSAKeyAlgorithm, Size: 256},
		},
	}
}

// issue asks for a certificate, waits for it, and returns it verified.
func (n *namespace) issue(t *testing.T, server *v1alpha1.AcmeServer, name string, hosts ...string) *x509.Certificate {
	t.Helper()
	return n.issued(t, server, n.request(t, server, name, hosts...))
}

// issued waits until a Certificate is Ready and returns what was issued, verified.
func (n *namespace) issued(t *testing.T, server *v1alpha1.AcmeServer, certificate *certmanagerv1.Certificate) *x509.Certificate {
	t.Helper()
	n.awaitCertificate(t, certificate)
	return n.verify(t, server, certificate)
}

// awaitCertificate waits until a Certificate is Ready.
func (n *namespace) awaitCertificate(t *testing.T, certificate *certmanagerv1.Certificate) {
	t.Helper()
	await(t, "Certificate "+certificate.Name+" is Ready", func(ctx context.Context) error {
		if err := n.client.Get(ctx, client.ObjectKeyFromObject(certificate), certificate); err != nil {
			return err
		}
		for _, c := range certificate.Status.Conditions {
			if c.Type == certmanagerv1.CertificateConditionReady && c.Status == cmmeta.ConditionTrue {
				return nil
			}
		}
		if certificate.Status.FailedIssuanceAttempts != nil {
			// cert-manager would try again in an hour.
			return gomega.StopTrying(fmt.Sprintf("the order failed: %+v", certificate.Status.Conditions))
		}
		return fmt.Errorf("its conditions are %+v", certificate.Status.Conditions)
	})
}

// keyPair reads the chain and the key of a Certificate.
func (n *namespace) keyPair(t *testing.T, certificate *certmanagerv1.Certificate) tls.Certificate {
	t.Helper()
	var secret corev1.Secret
	if err := n.client.Get(t.Context(), client.ObjectKey{Namespace: n.name, Name: certificate.Spec.SecretName}, &secret); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatalf("the certificate and the key of %s: %v", certificate.Name, err)
	}
	return pair
}

// verify checks all that a client relies on: the chain leads to what the
// ClusterIssuer trusts through the authority of the status, the names are those
// asked for, and the key is the certificate's.
func (n *namespace) verify(t *testing.T, server *v1alpha1.AcmeServer, certificate *certmanagerv1.Certificate) *x509.Certificate {
	t.Helper()
	pair := n.keyPair(t, certificate)
	if len(pair.Certificate) != 2 {
		t.Fatalf("the chain of %s has %d certificates; want its own and the intermediate's", certificate.Name, len(pair.Certificate))
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(n.issuer(t, server).Spec.ACME.CABundle) {
		t.Fatal("the ClusterIssuer's caBundle has no certificate")
	}
	intermediate, err := x509.ParseCertificate(pair.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	between.AddCert(intermediate)
	for _, host := range certificate.Spec.DNSNames {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between}); err != nil {
			t.Errorf("the chain of %s for %s: %v", certificate.Name, host, err)
		}
	}
	if diff := cmp.Diff(certificate.Spec.DNSNames, pair.Leaf.DNSNames, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Errorf("the names of %s (-asked for +issued):\n%s", certificate.Name, diff)
	}
	sum := sha256.Sum256(intermediate.Raw)
	if got, want := hex.EncodeToString(sum[:]), server.Status.CertificateAuthority.Fingerprint; got != want {
		t.Errorf("%s was signed by %s; the status says %s", certificate.Name, got, want)
	}
	return pair.Leaf
}

// issueMany asks for several certificates at once.
func (n *namespace) issueMany(t *testing.T, server *v1alpha1.AcmeServer, prefix string, count int) []*certmanagerv1.Certificate {
	t.Helper()
	var all []*certmanagerv1.Certificate
	for i := range count {
		name := fmt.Sprintf("%s-%d", prefix, i)
		all = append(all, n.request(t, server, name, name+"."+n.name+".apps.test"))
	}
	return all
}

// awaitAll waits for certificates, and checks that no two are the same.
func (n *namespace) awaitAll(t *testing.T, server *v1alpha1.AcmeServer, all []*certmanagerv1.Certificate) {
	t.Helper()
	var serials []string
	for _, certificate := range all {
		serials = append(serials, n.issued(t, server, certificate).SerialNumber.Text(16))
	}
	slices.Sort(serials)
	if n := len(slices.Compact(slices.Clone(serials))); n != len(all) {
		t.Errorf("%d certificates have %d serial numbers", len(all), n)
	}
}
