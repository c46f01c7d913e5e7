package controllers_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// certManager is the namespace that the tests' cert-manager has its Secrets in.
const certManager = "default"

func TestClusterIssuerIsBoundWhereExternalAccountsAreRequired(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{ExternalAccounts: &v1alpha1.ExternalAccountsSpec{Required: true}})
	name := render.ClusterIssuerName(server)
	issuer := &certmanagerv1.ClusterIssuer{}
	check(t, c.Get(t.Context(), client.ObjectKey{Name: name}, issuer))
	binding := issuer.Spec.ACME.ExternalAccountBinding
	if binding == nil || binding.KeyID != "clusterissuer" {
		t.Fatalf("the binding is %+v", binding)
	}
	copied := &corev1.Secret{}
	check(t, c.Get(t.Context(), client.ObjectKey{Namespace: certManager, Name: binding.Key.Name}, copied))
	own := get(t, c, server, render.ExternalAccountSecretName(server), &corev1.Secret{})
	key, err := base64.RawURLEncoding.DecodeString(string(copied.Data[binding.Key.Key]))
	if err != nil || len(key) != 32 || !bytes.Equal(copied.Data[binding.Key.Key], own.Data["clusterissuer"]) {
		t.Errorf("cert-manager and the servers do not have one key of 32 octets (%v)", err)
	}
	NewWithT(t).Eventually(func() []metav1.OwnerReference {
		check(t, c.Get(t.Context(), client.ObjectKeyFromObject(copied), copied))
		return copied.OwnerReferences
	}, patience).Should(ConsistOf(HaveField("UID", issuer.UID)), "the Secret does not go with the ClusterIssuer")
	config := get(t, c, server, server.Name, &corev1.ConfigMap{}).Data["config.yaml"]
	if !strings.Contains(config, "required: true") || !strings.Contains(config, "keysDirectory: /etc/acmeserver/external-accounts") {
		t.Errorf("the servers' configuration has no external accounts:\n%s", config)
	}
}

func TestClusterIssuerIsBoundWhenEveryServerKnowsTheKey(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.ExternalAccounts = &v1alpha1.ExternalAccountsSpec{Required: true} })
	c.condition(t, server, v1alpha1.ConditionClusterIssuerReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	issuer := &certmanagerv1.ClusterIssuer{}
	check(t, c.Get(t.Context(), client.ObjectKey{Name: render.ClusterIssuerName(server)}, issuer))
	if issuer.Spec.ACME.ExternalAccountBinding != nil {
		t.Error("it is bound while there may be servers that do not know the key")
	}
	c.startServers(t, server, 1)
	NewWithT(t).Eventually(func() any {
		check(t, c.Get(t.Context(), client.ObjectKeyFromObject(issuer), issuer))
		return issuer.Spec.ACME.ExternalAccountBinding
	}, patience).ShouldNot(BeNil())
}

func TestExternalAccountsOfTheUserAreReadFromASecret(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.apply(t, v1alpha1.AcmeServerSpec{ExternalAccounts: &v1alpha1.ExternalAccountsSpec{
		SecretRef: &v1alpha1.SecretReference{Name: "tenants"},
	}})
	c.startDatabase(t, server)
	message := c.condition(t, server, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)
	if !strings.Contains(message, "the Secret tenants of spec.externalAccounts.secretRef does not exist") {
		t.Errorf("the message is %q", message)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "tenants", Namespace: server.Namespace}, Data: map[string][]byte{"team-a": []byte("hidden")},
	}
	check(t, c.Create(t.Context(), secret))
	for _, test := range []struct {
		kid, key, want string
	}{
		{"team-a", "hidden", "a key team-a that is not at least 16 octets in base64url"},
		{"clusterissuer", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "which is the ClusterIssuer's"},
	} {
		secret.Data = map[string][]byte{test.kid: []byte(test.key)}
		check(t, c.Update(t.Context(), secret))
		NewWithT(t).Eventually(func() string {
			return c.condition(t, server, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid)
		}, patience).Should(And(ContainSubstring(test.want), Not(ContainSubstring("hidden"))))
	}
	secret.Data = map[string][]byte{"team-a": []byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")}
	check(t, c.Update(t.Context(), secret))
	c.condition(t, server, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	before := get(t, c, server, server.Name, &appsv1.Deployment{}).Spec.Template.Annotations
	secret.Data["team-b"] = []byte("BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB")
	check(t, c.Update(t.Context(), secret))
	NewWithT(t).Eventually(func() map[string]string {
		return get(t, c, server, server.Name, &appsv1.Deployment{}).Spec.Template.Annotations
	}, patience).ShouldNot(Equal(before), "the servers do not restart for another account")
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: server.Namespace, Name: render.ExternalAccountSecretName(server)}, secret); !apierrors.IsNotFound(err) {
		t.Errorf("a key was made for the ClusterIssuer, which needs none (%v)", err)
	}
}
