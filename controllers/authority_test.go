package controllers_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

func TestGeneratedSecretsAreNotMadeTwice(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	secrets := map[string]map[string][]byte{}
	for _, name := range render.SecretNames(server) {
		secrets[name] = get(t, c, server, name, &corev1.Secret{}).Data
	}
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.Replicas = new(int32(2)) })
	get(t, c, server, "internal", &policyv1.PodDisruptionBudget{})
	for name, before := range secrets {
		if diff := cmp.Diff(before, get(t, c, server, name, &corev1.Secret{}).Data); diff != "" {
			t.Errorf("Secret %s was changed", name)
		}
	}
	// The intermediate's Secret is deleted: its key is replaced, its root is not.
	check(t, c.Delete(t.Context(), get(t, c, server, "internal-ca", &corev1.Secret{})))
	NewWithT(t).Eventually(func() bool {
		s := get(t, c, server, "internal-ca", &corev1.Secret{})
		return !bytes.Equal(s.Data["tls.key"], secrets["internal-ca"]["tls.key"]) && bytes.Equal(s.Data["ca.crt"], secrets["internal-ca"]["ca.crt"])
	}, patience).Should(BeTrue())
	// The root is taken away: no other is made while there is an intermediate.
	check(t, c.Delete(t.Context(), get(t, c, server, "internal-root-ca", &corev1.Secret{})))
	_, err := c.reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(server)})
	check(t, err)
	gone(t, c, server, "internal-root-ca", &corev1.Secret{})
}

func TestIntermediateIsRenewedWithItsKeyAfterTwoThirds(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	before := get(t, c, server, "internal-ca", &corev1.Secret{}).Data
	c.reconcileAt(t, server, time.Now().Add(200*24*time.Hour))
	if diff := cmp.Diff(before, get(t, c, server, "internal-ca", &corev1.Secret{}).Data); diff != "" {
		t.Fatal("the intermediate was renewed too early")
	}
	written := c.reconcileAt(t, server, time.Now().Add(250*24*time.Hour))
	if want := "PUT /api/v1/namespaces/" + server.Namespace + "/secrets/internal-ca"; !slices.Contains(written, want) {
		t.Errorf("the writes are %s, without %s", written, want)
	}
	after := get(t, c, server, "internal-ca", &corev1.Secret{}).Data
	if bytes.Equal(after["tls.crt"], before["tls.crt"]) {
		t.Error("the certificate was not renewed")
	}
	if !bytes.Equal(after["tls.key"], before["tls.key"]) || !bytes.Equal(after["ca.crt"], before["ca.crt"]) {
		t.Error("the key or the root did not stay")
	}
	if end := certificate(t, after["tls.crt"]).NotAfter; end.Before(time.Now().Add(600 * 24 * time.Hour)) {
		t.Errorf("the renewed certificate ends at %s already", end)
	}
}

func TestExpiredAuthorityIsToldOf(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{ClusterIssuer: v1alpha1.ClusterIssuerSpec{Enabled: new(true)}})
	// Without the root nothing can be renewed.
	check(t, c.Delete(t.Context(), get(t, c, server, "internal-root-ca", &corev1.Secret{})))
	NewWithT(t).Eventually(func() string {
		return c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	}, patience).Should(ContainSubstring("without the Secret internal-root-ca it is not renewed"))
	condition := c.authorityAt(t, server, time.Now().Add(366*24*time.Hour), "restore it")
	if condition.Status != metav1.ConditionFalse || !strings.Contains(condition.Message, "internal-root-ca") {
		t.Errorf("the condition is %+v", condition)
	}
}

func TestKeptAuthorityIsUsedAgain(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	before := get(t, c, server, "internal-root-ca", &corev1.Secret{}).Data
	check(t, c.Delete(t.Context(), server))
	gone(t, c, server, "internal", &v1alpha1.AcmeServer{})
	again := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: server.Namespace}}
	check(t, c.Create(t.Context(), again))
	c.condition(t, again, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	if diff := cmp.Diff(before, get(t, c, again, "internal-root-ca", &corev1.Secret{}).Data); diff != "" {
		t.Error("the root is another")
	}
}

func TestSecretsOfAnAcmeServerThatWasDeletedAreNotTakenOver(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{DeletionPolicy: v1alpha1.DeletionDelete})
	before := get(t, c, server, "internal-ca", &corev1.Secret{})
	check(t, c.Delete(t.Context(), server))
	gone(t, c, server, "internal", &v1alpha1.AcmeServer{})
	// Nothing collects garbage here: the root goes first, as it may.
	check(t, c.Delete(t.Context(), get(t, c, server, "internal-root-ca", &corev1.Secret{})))
	again := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: server.Namespace}}
	check(t, c.Create(t.Context(), again))
	NewWithT(t).Eventually(func() time.Duration { // the cache learns of it a moment later
		result, err := c.reconciler.Reconcile(t.Context(), requestOf(again))
		check(t, err)
		return result.RequeueAfter
	}, patience).Should(Equal(time.Second))
	if now := get(t, c, server, "internal-ca", &corev1.Secret{}); now.ResourceVersion != before.ResourceVersion {
		t.Errorf("the Secret of the one before was written; its owners are %v", now.OwnerReferences)
	}
	check(t, c.Delete(t.Context(), before))
	c.condition(t, again, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	get(t, c, server, "internal-root-ca", &corev1.Secret{})
}

// reconcileAt reconciles once as if it were another time, and returns what was written.
func (c *cluster) reconcileAt(t *testing.T, server *v1alpha1.AcmeServer, now time.Time) (written []string) {
	t.Helper()
	parts := c.parts
	parts.Clock = func() time.Time { return now }
	// The ClusterIssuer needs a running controller's watch; it is not what is tested.
	parts.Client = noIssuers{parts.Client}
	reconciler, err := controllers.New(parts)
	check(t, err)
	ctx, w := listed(t.Context())
	_, err = reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(server)})
	check(t, err)
	return w.requests
}

// authorityAt reconciles an AcmeServer as if it were another time, until its condition
// CertificateAuthorityReady has a text: the operator may write what it says today after it.
func (c *cluster) authorityAt(t *testing.T, server *v1alpha1.AcmeServer, now time.Time, text string) *metav1.Condition {
	t.Helper()
	var condition *metav1.Condition
	NewWithT(t).Eventually(func() string {
		c.reconcileAt(t, server, now)
		check(t, c.Get(t.Context(), client.ObjectKeyFromObject(server), server))
		condition = meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionCertificateAuthorityReady)
		return condition.Message
	}, patience).Should(ContainSubstring(text))
	return condition
}

// noIssuers is a client of a cluster without cert-manager.
type noIssuers struct{ client.Client }

func (c noIssuers) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if key.Name == "clusterissuers.cert-manager.io" {
		return apierrors.NewNotFound(corev1.Resource("customresourcedefinitions"), key.Name)
	}
	return c.Client.Get(ctx, key, object, options...)
}

// certificate reads the first certificate of a PEM text.
func certificate(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("no PEM in %q", data)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	return c
}
