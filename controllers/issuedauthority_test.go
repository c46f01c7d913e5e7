package controllers_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// issuedBy is an authority that an issuer of cert-manager issues.
func issuedBy(issuer string) v1alpha1.CertificateAuthoritySpec {
	return v1alpha1.CertificateAuthoritySpec{CertManager: &v1alpha1.CertManagerAuthority{IssuerRef: v1alpha1.IssuerReference{Name: issuer}}}
}

// issue does what cert-manager would: it issues the authority of an AcmeServer.
func (c *cluster) issue(t *testing.T, server *v1alpha1.AcmeServer, by company, data ...string) *certmanagerv1.Certificate {
	t.Helper()
	certificate := get(t, c, server, "internal-ca-issued", &certmanagerv1.Certificate{})
	key, err := issuance.GenerateKey(issuance.ECDSAP256)
	check(t, err)
	encoded, err := issuance.EncodeKey(key)
	check(t, err)
	all := map[string][]byte{"tls.crt": by.sign(t, certificate.Spec.CommonName, key.Public()), "tls.key": encoded, "ca.crt": issuance.EncodeCertificates(by.root)}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: server.Namespace, Name: certificate.Spec.SecretName, Labels: certificate.Spec.SecretTemplate.Labels},
		Data:       map[string][]byte{},
	}
	for name, value := range all {
		if len(data) == 0 || slices.Contains(data, name) {
			secret.Data[name] = value
		}
	}
	check(t, c.Create(t.Context(), secret))
	certificate.Status = certmanagerv1.CertificateStatus{
		Conditions:  []certmanagerv1.CertificateCondition{{Type: certmanagerv1.CertificateConditionReady, Status: cmmeta.ConditionTrue, Reason: "Ready"}},
		RenewalTime: &metav1.Time{Time: time.Now().Add(400 * time.Hour).Truncate(time.Second)},
	}
	check(t, c.Status().Update(t.Context(), certificate))
	return certificate
}

// sign returns a certificate of an authority below the company's, in PEM.
func (c company) sign(t *testing.T, name string, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: c.root.NotBefore, NotAfter: time.Now().Add(600 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, c.root, key, c.key)
	check(t, err)
	signed, err := x509.ParseCertificate(der)
	check(t, err)
	return issuance.EncodeCertificates(signed)
}

func TestCertManagerIssuesTheAuthority(t *testing.T) {
	t.Parallel()
	c, by := shared, newCompany(t)
	server := c.apply(t, v1alpha1.AcmeServerSpec{CA: issuedBy("company")})
	c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	certificate := get(t, c, server, "internal-ca-issued", &certmanagerv1.Certificate{})
	want := certmanagerv1.CertificateSpec{
		CommonName: "internal Intermediate CA", IsCA: true, Usages: []certmanagerv1.KeyUsage{certmanagerv1.UsageCertSign, certmanagerv1.UsageCRLSign},
		Duration:   &metav1.Duration{Duration: 8760 * time.Hour},
		IssuerRef:  cmmeta.IssuerReference{Name: "company", Kind: "Issuer", Group: "cert-manager.io"},
		SecretName: "internal-ca-issued", SecretTemplate: &certmanagerv1.CertificateSecretTemplate{Labels: certificate.Labels},
		PrivateKey: &certmanagerv1.CertificatePrivateKey{
			RotationPolicy: certmanagerv1.RotationPolicyNever, Encoding: certmanagerv1.PKCS8, Algorithm: certmanagerv1.ECDSAKeyAlgorithm, Size: 256,
		},
	}
	if diff := cmp.Diff(want, certificate.Spec); diff != "" {
		t.Errorf("what is asked of cert-manager (-want +got):\n%s", diff)
	}

	certificate.Status.Conditions = []certmanagerv1.CertificateCondition{
		{Type: certmanagerv1.CertificateConditionReady, Status: cmmeta.ConditionFalse, Message: "Issuing certificate as Secret does not exist"},
		{Type: certmanagerv1.CertificateConditionIssuing, Status: cmmeta.ConditionFalse, Message: "the issuer may not sign authorities"},
	}
	check(t, c.Status().Update(t.Context(), certificate))
	c.says(t, server, metav1.ConditionFalse, "has not issued the Certificate internal-ca-issued yet; it says: the issuer may not sign authorities")

	certificate = c.issue(t, server, by)
	c.says(t, server, metav1.ConditionTrue, "cert-manager renews it")
	c.start(t, server)
	if got := server.Status.CertificateAuthority; got.Subject != "CN=internal Intermediate CA" || !got.RenewAt.Equal(certificate.Status.RenewalTime) {
		t.Errorf("the status is %+v; want the renewal at %s", got, certificate.Status.RenewalTime)
	}
	issuer := &certmanagerv1.ClusterIssuer{}
	check(t, c.Get(t.Context(), client.ObjectKey{Name: render.ClusterIssuerName(server)}, issuer))
	if diff := cmp.Diff(string(issuance.EncodeCertificates(by.root)), string(issuer.Spec.ACME.CABundle)); diff != "" {
		t.Errorf("the ClusterIssuer trusts (-want +got):\n%s", diff)
	}
	if volumes := get(t, c, server, "internal", &appsv1.Deployment{}).Spec.Template.Spec.Volumes; !slices.ContainsFunc(volumes, func(v corev1.Volume) bool {
		return v.Secret != nil && v.Secret.SecretName == "internal-ca-issued"
	}) {
		t.Errorf("the servers mount %+v", volumes)
	}
	c.settled(t, server)
}

func TestAnAuthorityThatIsNotIssuedAnyMoreIsNotRenewed(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.apply(t, v1alpha1.AcmeServerSpec{CA: issuedBy("company"), DeletionPolicy: v1alpha1.DeletionDelete})
	c.issue(t, server, newCompany(t))
	c.start(t, server)
	secret := get(t, c, server, "internal-ca-issued", &corev1.Secret{})
	if !metav1.IsControlledBy(secret, server) {
		t.Error("the key does not go with the AcmeServer, as its deletionPolicy says")
	}
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.CA, s.DeletionPolicy = v1alpha1.CertificateAuthoritySpec{}, "" })
	gone(t, c, server, "internal-ca-issued", &certmanagerv1.Certificate{})
	c.says(t, server, metav1.ConditionTrue, "the operator renews it")
	get(t, c, server, "internal-ca-issued", &corev1.Secret{})
	// And back: with the key that it had.
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.CA = issuedBy("company") })
	get(t, c, server, "internal-ca-issued", &certmanagerv1.Certificate{})
	c.says(t, server, metav1.ConditionTrue, "cert-manager renews it")
}

func TestASecretOfSomebodyElseIsNotGivenToCertManager(t *testing.T) {
	t.Parallel()
	c := shared
	namespace := c.namespace(t)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "internal-ca-issued"}, Data: map[string][]byte{"tls.key": []byte("theirs")}}
	check(t, c.Create(t.Context(), theirs))
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "internal"}, Spec: v1alpha1.AcmeServerSpec{CA: issuedBy("company")}}
	check(t, c.Create(t.Context(), server))
	c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	gone(t, c, server, "internal-ca-issued", &certmanagerv1.Certificate{})
}

func TestAnIssuerThatDoesNotSayItsRootIsToldOf(t *testing.T) {
	t.Parallel()
	c, by := shared, newCompany(t)
	server := c.apply(t, v1alpha1.AcmeServerSpec{CA: issuedBy("company")})
	certificate := c.issue(t, server, by, "tls.crt", "tls.key")
	c.says(t, server, metav1.ConditionFalse, "Issuer company has issued the Certificate internal-ca-issued without saying by which root (ca.crt in its Secret)")
	// One that cert-manager lets go with its Certificate is left to it.
	secret := get(t, c, server, "internal-ca-issued", &corev1.Secret{})
	secret.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(certificate, render.CertificateGVK)}
	secret.Data["ca.crt"] = issuance.EncodeCertificates(by.root)
	check(t, c.Update(t.Context(), secret))
	c.says(t, server, metav1.ConditionTrue, "cert-manager renews it")
	if after := get(t, c, server, "internal-ca-issued", &corev1.Secret{}); !metav1.IsControlledBy(after, certificate) {
		t.Errorf("its owners are %+v", after.OwnerReferences)
	}
}

func TestAnAuthorityIsSignedWithThoughCertManagerCannotBeAsked(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.apply(t, v1alpha1.AcmeServerSpec{CA: issuedBy("company")})
	c.issue(t, server, newCompany(t))
	c.start(t, server)
	webhook := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "down." + server.Namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "webhook.cert-manager.io", AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: new("https://127.0.0.1:1/")},
			SideEffects:  new(admissionregistrationv1.SideEffectClassNone), TimeoutSeconds: new(int32(1)),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: server.Namespace}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"cert-manager.io"}, APIVersions: []string{"*"}, Resources: []string{"certificates"}},
			}},
		}},
	}
	check(t, c.Create(t.Context(), webhook))
	t.Cleanup(func() { _ = c.Delete(context.Background(), webhook) })
	NewWithT(t).Eventually(func() error { // until the API server knows of it
		certificate := get(t, c, server, "internal-ca-issued", &certmanagerv1.Certificate{})
		certificate.Spec.Duration = &metav1.Duration{Duration: 30 * time.Hour}
		return c.Update(t.Context(), certificate, client.DryRunAll)
	}, patience).Should(MatchError(ContainSubstring("webhook")))
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) {
		s.CA.CertManager.Lifetime, s.Replicas = &metav1.Duration{Duration: 48 * time.Hour}, new(int32(2))
	})
	c.says(t, server, metav1.ConditionTrue, "cert-manager could not be asked for it as the spec is")
	NewWithT(t).Eventually(func() int32 {
		return *get(t, c, server, "internal", &appsv1.Deployment{}).Spec.Replicas
	}, patience).Should(BeEquivalentTo(2), "what else was changed waits for cert-manager")
	check(t, c.Delete(t.Context(), webhook))
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.Replicas = new(int32(1)) })
	NewWithT(t).Eventually(func() time.Duration {
		return get(t, c, server, "internal-ca-issued", &certmanagerv1.Certificate{}).Spec.Duration.Duration
	}, 2*patience).Should(Equal(48 * time.Hour))
	c.says(t, server, metav1.ConditionTrue, "cert-manager renews it")
}
