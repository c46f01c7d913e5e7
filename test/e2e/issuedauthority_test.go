//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

func TestAuthorityThatCertManagerIssuesSigns(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := n.apply(t, "internal", v1alpha1.AcmeServerSpec{
		CA:         v1alpha1.CertificateAuthoritySpec{CertManager: &v1alpha1.CertManagerAuthority{IssuerRef: v1alpha1.IssuerReference{Name: "company"}}},
		Validation: trusted(),
	})
	// The issuer comes later: what cert-manager says of that is told.
	n.awaitCondition(t, server, v1alpha1.ConditionCertificateAuthorityReady, v1alpha1.ReasonProgressing, "internal-ca-issued")
	root := n.company(t)
	n.awaitReady(t, server)
	if !bytes.Equal(n.issuer(t, server).Spec.ACME.CABundle, root) {
		t.Error("the ClusterIssuer does not trust the company's root alone")
	}
	n.issue(t, server, "first", "first.example")

	// Without its Secret, it is issued anew, for another key.
	before := server.Status.CertificateAuthority.Fingerprint
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: render.IssuedAuthorityName(server)}}
	if err := n.client.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	await(t, "another authority", func(ctx context.Context) error {
		if err := n.client.Get(ctx, client.ObjectKeyFromObject(server), server); err != nil {
			return err
		}
		if a := server.Status.CertificateAuthority; a == nil || a.Fingerprint == before {
			return errors.New("the conditions are" + conditions(server))
		}
		return nil
	})
	n.awaitReplaced(t, server)
	n.issue(t, server, "second", "second.example")
}

// company makes an Issuer with a root of its own, and returns that, in PEM.
func (n *namespace) company(t *testing.T) []byte {
	t.Helper()
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: n.name, Name: name} }
	root := &certmanagerv1.Certificate{
		ObjectMeta: named("company-root"),
		Spec: certmanagerv1.CertificateSpec{
			CommonName: "Company Root CA", IsCA: true, SecretName: "company-root",
			IssuerRef:  cmmeta.IssuerReference{Name: "self-signed"},
			PrivateKey: &certmanagerv1.CertificatePrivateKey{Algorithm: certmanagerv1.ECDSAKeyAlgorithm, Size: 256},
		},
	}
	for _, object := range []client.Object{
		&certmanagerv1.Issuer{ObjectMeta: named("self-signed"), Spec: certmanagerv1.IssuerSpec{IssuerConfig: certmanagerv1.IssuerConfig{SelfSigned: &certmanagerv1.SelfSignedIssuer{}}}},
		root,
		&certmanagerv1.Issuer{ObjectMeta: named("company"), Spec: certmanagerv1.IssuerSpec{IssuerConfig: certmanagerv1.IssuerConfig{CA: &certmanagerv1.CAIssuer{SecretName: "company-root"}}}},
	} {
		if err := n.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	n.awaitCertificate(t, root)
	var secret corev1.Secret
	if err := n.client.Get(t.Context(), client.ObjectKey{Namespace: n.name, Name: "company-root"}, &secret); err != nil {
		t.Fatal(err)
	}
	return secret.Data[corev1.TLSCertKey]
}
