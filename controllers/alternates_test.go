package controllers_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// company is a root that has nothing to do with an AcmeServer, and signs others.
type company struct {
	root *x509.Certificate
	key  crypto.Signer
}

func newCompany(t *testing.T) company {
	t.Helper()
	root, key, err := issuance.NewRoot(issuance.RootConfig{CommonName: "Company Root", KeyAlgorithm: issuance.ECDSAP256, Lifetime: 1000 * time.Hour})
	check(t, err)
	return company{root, key}
}

// crossSign returns a certificate of the company for the key and the subject of another
// one, in PEM.
func (c company) crossSign(t *testing.T, other *x509.Certificate, end time.Time) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: other.Subject, SubjectKeyId: other.SubjectKeyId,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, c.root, other.PublicKey, c.key)
	check(t, err)
	crossed, err := x509.ParseCertificate(der)
	check(t, err)
	return issuance.EncodeCertificates(crossed)
}

// alternatesRef names the key chains.pem, which is the default, of a Secret.
func alternatesRef() *v1alpha1.AlternateChainsReference {
	return &v1alpha1.AlternateChainsReference{SecretReference: v1alpha1.SecretReference{Name: "cross-signed"}}
}

// writeAlternates writes the Secret of alternatesRef.
func (c *cluster) writeAlternates(t *testing.T, server *v1alpha1.AcmeServer, data map[string][]byte) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: alternatesRef().Name, Namespace: server.Namespace}, Data: data}
	if err := c.Create(t.Context(), secret); err != nil {
		check(t, c.Update(t.Context(), secret))
	}
}

func TestAlternateChainsReachTheServers(t *testing.T) {
	t.Parallel()
	c, by := shared, newCompany(t)
	for name, test := range map[string]struct {
		spec v1alpha1.CertificateAuthoritySpec
		// chain returns the chain that leads to the company's root.
		chain func(t *testing.T, server *v1alpha1.AcmeServer, end time.Time) []byte
	}{
		"of an authority that the operator made, whose root is signed by another": {
			chain: func(t *testing.T, server *v1alpha1.AcmeServer, end time.Time) []byte {
				own := get(t, c, server, "internal-ca", &corev1.Secret{}).Data
				return slices.Concat(own["tls.crt"], by.crossSign(t, certificate(t, own["ca.crt"]), end))
			},
		},
		"of one that the user brings, which is signed by another": {
			spec: v1alpha1.CertificateAuthoritySpec{SecretRef: &v1alpha1.SecretReference{Name: "corporate"}},
			chain: func(t *testing.T, server *v1alpha1.AcmeServer, end time.Time) []byte {
				own := get(t, c, server, "corporate", &corev1.Secret{}).Data
				return slices.Concat(by.crossSign(t, certificate(t, own["tls.crt"]), end), issuance.EncodeCertificates(by.root))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := c.apply(t, v1alpha1.AcmeServerSpec{CA: test.spec})
			if ref := test.spec.SecretRef; ref != nil {
				c.bringAuthority(t, server, ref.Name)
			}
			c.start(t, server)
			before := get(t, c, server, "internal", &appsv1.Deployment{}).Spec.Template

			end := time.Now().Add(500 * time.Hour).Truncate(time.Second)
			c.writeAlternates(t, server, map[string][]byte{"chains.pem": test.chain(t, server, end)})
			c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.CA.AlternateChainsRef = alternatesRef() })
			first := c.rolled(t, server, before)
			if v := first.Spec.Volumes; !slices.ContainsFunc(v, func(v corev1.Volume) bool {
				return v.Secret != nil && v.Secret.SecretName == "cross-signed" && v.Secret.Items[0] == corev1.KeyToPath{Key: "chains.pem", Path: "chains.pem"}
			}) {
				t.Errorf("no volume has the chains: %+v", v)
			}
			config := get(t, c, server, "internal", &corev1.ConfigMap{}).Data["config.yaml"]
			if !strings.Contains(config, "alternateChainsFile: /etc/acmeserver/alternate-chains/chains.pem") {
				t.Errorf("the servers' configuration has no chains:\n%s", config)
			}
			c.says(t, server, metav1.ConditionTrue, "the first of the alternate chains ends at "+end.UTC().Format(time.RFC3339))

			c.writeAlternates(t, server, map[string][]byte{"chains.pem": test.chain(t, server, end.Add(time.Hour))})
			c.rolled(t, server, first)
			c.settled(t, server)
		})
	}
}

// bringAuthority gives an AcmeServer the authority of another, in a Secret.
func (c *cluster) bringAuthority(t *testing.T, server *v1alpha1.AcmeServer, name string) {
	t.Helper()
	other := c.apply(t, v1alpha1.AcmeServerSpec{})
	data := get(t, c, other, render.AuthoritySecretName(other), &corev1.Secret{}).Data
	check(t, c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: server.Namespace}, Data: data}))
}

// rolled waits until the servers' pods are made of another template, and returns it.
func (c *cluster) rolled(t *testing.T, server *v1alpha1.AcmeServer, before corev1.PodTemplateSpec) (now corev1.PodTemplateSpec) {
	t.Helper()
	NewWithT(t).Eventually(func() map[string]string {
		now = get(t, c, server, "internal", &appsv1.Deployment{}).Spec.Template
		return now.Annotations
	}, patience).ShouldNot(Equal(before.Annotations), "the servers do not restart")
	return now
}

// says waits until the condition of the authority has a status and says something.
func (c *cluster) says(t *testing.T, server *v1alpha1.AcmeServer, status metav1.ConditionStatus, text string) (reason string) {
	t.Helper()
	NewWithT(t).Eventually(func() metav1.Condition {
		check(t, c.Get(t.Context(), client.ObjectKeyFromObject(server), server))
		found := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionCertificateAuthorityReady)
		if found == nil {
			return metav1.Condition{}
		}
		reason = found.Reason
		return *found
	}, patience).Should(And(HaveField("Message", ContainSubstring(text)), HaveField("Status", status)))
	return reason
}

func TestAlternateChainsThatServersWouldRefuseAreToldOfAndRolledNowhere(t *testing.T) {
	t.Parallel()
	c, by := shared, newCompany(t)
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	before := get(t, c, server, "internal", &appsv1.Deployment{}).Spec.Template
	own := get(t, c, server, "internal-ca", &corev1.Secret{}).Data
	issuer, soon := certificate(t, own["tls.crt"]), time.Now().Add(100*time.Hour)
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.CA.AlternateChainsRef = alternatesRef() })
	for _, step := range []struct {
		name, reason string
		data         map[string][]byte
		text         string
	}{
		{"there is no Secret", v1alpha1.ReasonSecretMissing, nil, "the Secret cross-signed of spec.ca.alternateChainsRef does not exist: make it, with the key chains.pem"},
		{
			"another key", v1alpha1.ReasonSecretMissing,
			map[string][]byte{"ca.crt": by.crossSign(t, issuer, soon)},
			"has no key chains.pem: add it, or name another with spec.ca.alternateChainsRef.key",
		},
		{"no PEM", v1alpha1.ReasonSecretInvalid, map[string][]byte{"chains.pem": []byte("x")}, "there is no certificate in PEM"},
		{
			"a chain for another key", v1alpha1.ReasonSecretInvalid,
			map[string][]byte{"chains.pem": issuance.EncodeCertificates(by.root)},
			`begins with certificate "CN=Company Root", which has not the key and the subject of certificate "CN=internal Intermediate CA": each chain must begin with`,
		},
		{
			"a chain that leads nowhere", v1alpha1.ReasonSecretInvalid,
			map[string][]byte{"chains.pem": slices.Concat(own["tls.crt"], by.crossSign(t, issuer, soon), own["ca.crt"])},
			"alternate chain 2: certificate 1 of the chain",
		},
	} {
		if step.data != nil {
			c.writeAlternates(t, server, step.data)
		}
		if reason := c.says(t, server, metav1.ConditionFalse, step.text); reason != step.reason {
			t.Errorf("%s: the reason is %s, not %s", step.name, reason, step.reason)
		}
	}
	if now := get(t, c, server, "internal", &appsv1.Deployment{}); now.Generation != 1 {
		t.Error("servers were rolled that would not start")
	}
	// Repaired; and the intermediate replaced by one with another key.
	c.writeAlternates(t, server, map[string][]byte{"chains.pem": by.crossSign(t, issuer, soon)})
	c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	c.rolled(t, server, before)
	check(t, c.Delete(t.Context(), get(t, c, server, "internal-ca", &corev1.Secret{})))
	c.says(t, server, metav1.ConditionFalse, "each chain must begin with what is now the first certificate of tls.crt of the Secret internal-ca")
	made := get(t, c, server, "internal-ca", &corev1.Secret{}).Data["tls.crt"]
	c.writeAlternates(t, server, map[string][]byte{"chains.pem": by.crossSign(t, certificate(t, made), soon)})
	c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionTrue, v1alpha1.ReasonIssued)
}

func TestTheEndOfAnAlternateChainIsWaitedForAndToldOf(t *testing.T) {
	t.Parallel()
	c, by := shared, newCompany(t)
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	issuer := certificate(t, get(t, c, server, "internal-ca", &corev1.Secret{}).Data["tls.crt"])
	c.writeAlternates(t, server, map[string][]byte{"chains.pem": slices.Concat(
		by.crossSign(t, issuer, time.Now().Add(72*time.Hour)), by.crossSign(t, issuer, time.Now().Add(48*time.Hour)),
	)})
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.CA.AlternateChainsRef = alternatesRef() })
	c.says(t, server, metav1.ConditionTrue, "the first of the alternate chains ends at")
	result, err := c.reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(server)})
	check(t, err)
	if result.RequeueAfter < 47*time.Hour || result.RequeueAfter > 48*time.Hour {
		t.Errorf("the next look is in %s; want it at the end of the first chain, in 48h", result.RequeueAfter)
	}
	condition := c.authorityAt(t, server, time.Now().Add(49*time.Hour), "the first of the alternate chains ended at")
	if condition.Status != metav1.ConditionTrue {
		t.Errorf("the condition is %+v", condition)
	}
}
