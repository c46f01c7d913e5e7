package controllers_test

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

func TestEmptySpecBecomesReady(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.apply(t, v1alpha1.AcmeServerSpec{})
	c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	c.condition(t, server, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonWaiting)
	c.startDatabase(t, server)
	c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
	c.condition(t, server, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	c.startServers(t, server, 1)
	c.condition(t, server, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonServing)
	c.condition(t, server, v1alpha1.ConditionClusterIssuerReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	c.register(t, render.ClusterIssuerName(server))
	c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	want := v1alpha1.AcmeServerStatus{
		ObservedGeneration: server.Generation, DirectoryURL: "https://internal." + server.Namespace + ".svc/directory",
		Replicas: 1, ReadyReplicas: 1, Selector: "app.kubernetes.io/instance=internal,app.kubernetes.io/name=acmeserver",
	}
	got := *server.Status.DeepCopy()
	if got.CertificateAuthority == nil || got.CertificateAuthority.Subject != "CN=internal Intermediate CA" || got.CertificateAuthority.RenewAt == nil {
		t.Errorf("status.certificateAuthority is %+v", got.CertificateAuthority)
	}
	got.Conditions, got.CertificateAuthority, got.GarbageCollection, got.RateLimits = nil, nil, nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the status (-want +got):\n%s", diff)
	}
	for _, condition := range server.Status.Conditions {
		if condition.ObservedGeneration != server.Generation {
			t.Errorf("condition %s is of generation %d, not %d", condition.Type, condition.ObservedGeneration, server.Generation)
		}
	}
	issuer := &certmanagerv1.ClusterIssuer{}
	check(t, c.Get(t.Context(), client.ObjectKey{Name: render.ClusterIssuerName(server)}, issuer))
	root := get(t, c, server, render.RootSecretName(server), &corev1.Secret{})
	if !bytes.Equal(issuer.Spec.ACME.CABundle, root.Data[corev1.TLSCertKey]) {
		t.Error("the ClusterIssuer trusts something else than the root")
	}
}

func TestTransitionsAreEvents(t *testing.T) {
	t.Parallel()
	server := shared.ready(t, v1alpha1.AcmeServerSpec{})
	NewWithT(t).Eventually(func() []string {
		var list eventsv1.EventList
		if err := shared.List(t.Context(), &list, client.InNamespace(server.Namespace)); err != nil {
			return nil
		}
		var notes []string
		for _, e := range list.Items {
			notes = append(notes, e.Type+" "+e.Action+" "+e.Reason)
		}
		return notes
	}, patience).Should(ContainElements(
		"Normal DatabaseReady Progressing", "Normal DatabaseReady Connected", "Normal CertificateAuthorityReady Issued",
		"Normal Available Serving", "Normal ClusterIssuerReady Ready", "Normal Ready Ready",
	))
}

func TestSecondReconcileWritesNothing(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]v1alpha1.AcmeServerSpec{
		"spec: {}":         {},
		"two replicas":     {Replicas: new(int32(2))},
		"with many fields": busySpec(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shared.settled(t, shared.ready(t, spec))
		})
	}
}

// settled checks that a reconcile of an AcmeServer that is as it should be writes nothing.
func (c *cluster) settled(t *testing.T, server *v1alpha1.AcmeServer) {
	t.Helper()
	reconcile := func() []string {
		ctx, w := listed(t.Context())
		_, err := c.reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(server)})
		check(t, err)
		return w.requests
	}
	// What the informers have not brought yet of the first writes may be written again.
	NewWithT(t).Eventually(reconcile, patience).Should(BeEmpty())
	for range 3 {
		if w := reconcile(); len(w) > 0 {
			t.Errorf("a reconcile of what is as it should be wrote %s", w)
		}
	}
}

func TestChangesOfOthersAreUndone(t *testing.T) {
	t.Parallel()
	server := shared.ready(t, v1alpha1.AcmeServerSpec{})
	service := get(t, shared, server, "internal", &corev1.Service{})
	service.Spec.Selector["app.kubernetes.io/name"] = "theirs"
	check(t, shared.Update(t.Context(), service))
	NewWithT(t).Eventually(func() string {
		return get(t, shared, server, "internal", &corev1.Service{}).Spec.Selector["app.kubernetes.io/name"]
	}, patience).Should(Equal("acmeserver"))
	check(t, shared.Delete(t.Context(), get(t, shared, server, "internal", &corev1.ConfigMap{})))
	get(t, shared, server, "internal", &corev1.ConfigMap{})
}

func TestObjectsOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	namespace := shared.namespace(t)
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: namespace}, Data: map[string]string{"theirs": "yes"}}
	check(t, shared.Create(t.Context(), theirs))
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: namespace}}
	check(t, shared.Create(t.Context(), server))
	shared.startDatabase(t, server)
	message := shared.condition(t, server, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	if !strings.Contains(message, "ConfigMap internal") {
		t.Errorf("the message is %q, and should name the ConfigMap", message)
	}
	check(t, shared.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs))
	if diff := cmp.Diff(map[string]string{"theirs": "yes"}, theirs.Data); diff != "" {
		t.Errorf("their ConfigMap was changed (-want +got):\n%s", diff)
	}
}

func TestMissingSecretsAreWaitedFor(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.apply(t, v1alpha1.AcmeServerSpec{
		Database: v1alpha1.DatabaseSpec{SecretRef: &v1alpha1.DatabaseSecretReference{SecretReference: v1alpha1.SecretReference{Name: "db-app"}}},
		CA:       v1alpha1.CertificateAuthoritySpec{SecretRef: &v1alpha1.SecretReference{Name: "corporate"}},
	})
	message := c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)
	if want := "the Secret db-app of spec.database.secretRef does not exist: make it, with the key uri"; message != want {
		t.Errorf("the message is %q, not %q", message, want)
	}
	c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)

	secret := func(name string, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: server.Namespace}, Data: data}
	}
	check(t, c.Create(t.Context(), secret("db-app", map[string][]byte{"uri": []byte("postgresql://u:p@db/acme")})))
	c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)

	corporate := secret("corporate", map[string][]byte{"tls.crt": []byte("no PEM"), "tls.key": []byte("hidden"), "ca.crt": []byte("x")})
	check(t, c.Create(t.Context(), corporate))
	message = c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid)
	if !strings.Contains(message, "tls.crt") || strings.Contains(message, "hidden") {
		t.Errorf("the message is %q", message)
	}
	// The authority of another AcmeServer is as good as any.
	other := c.apply(t, v1alpha1.AcmeServerSpec{})
	corporate.Data = get(t, c, other, render.AuthoritySecretName(other), &corev1.Secret{}).Data
	check(t, c.Update(t.Context(), corporate))
	c.condition(t, server, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionTrue, v1alpha1.ReasonProvided)
	before := get(t, c, server, "internal", &appsv1.Deployment{}).Spec.Template.Annotations

	database := get(t, c, server, "db-app", &corev1.Secret{})
	database.Data["uri"] = []byte("postgresql://u:q@db/acme")
	check(t, c.Update(t.Context(), database))
	NewWithT(t).Eventually(func() map[string]string {
		return get(t, c, server, "internal", &appsv1.Deployment{}).Spec.Template.Annotations
	}, patience).ShouldNot(Equal(before), "the servers do not restart for another password")
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: server.Namespace, Name: "internal-database"}, &appsv1.StatefulSet{}); !apierrors.IsNotFound(err) {
		t.Errorf("there is an embedded database beside that of the Secret (%v)", err)
	}
}

func TestDatabaseThatIsDownIsToldOfAndComesBack(t *testing.T) {
	t.Parallel()
	c := shared
	const password = "s3cr3t/word"
	host := "db-" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	c.databases.Store(host, errors.New("failed to connect to postgresql://u:s3cr3t%2Fword@"+host+"/acme with s3cr3t/word: connection refused"))
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: c.namespace(t)}, Spec: v1alpha1.AcmeServerSpec{
		Database: v1alpha1.DatabaseSpec{SecretRef: &v1alpha1.DatabaseSecretReference{SecretReference: v1alpha1.SecretReference{Name: "db"}}},
	}}
	check(t, c.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: server.Namespace},
		Data:       map[string][]byte{"uri": []byte("postgresql://u:s3cr3t%2Fword@" + host + "/acme")},
	}))
	check(t, c.Create(t.Context(), server))
	message := c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonUnreachable)
	if strings.Contains(message, password) || strings.Contains(message, "s3cr3t%2Fword") {
		t.Errorf("the message has the password: %s", message)
	}
	if !strings.Contains(message, "connection refused") || !strings.Contains(message, "Secret db ") {
		t.Errorf("the message is %q, and should say which database refuses", message)
	}
	c.databases.Delete(host)
	c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
}

func TestScaleSubresourceScales(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	check(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error { // as kubectl scale does
		scale := &autoscalingv1.Scale{}
		check(t, c.SubResource("scale").Get(t.Context(), server, scale))
		if scale.Status.Replicas != 1 || scale.Status.Selector == "" {
			t.Errorf("the scale's status is %+v", scale.Status)
		}
		scale.Spec.Replicas = 3
		return c.SubResource("scale").Update(t.Context(), server, client.WithSubResourceBody(scale))
	}))
	NewWithT(t).Eventually(func() int32 {
		return *get(t, c, server, "internal", &appsv1.Deployment{}).Spec.Replicas
	}, patience).Should(Equal(int32(3)))
	get(t, c, server, "internal", &policyv1.PodDisruptionBudget{})
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) {
		s.Replicas = new(int32(1))
		s.NetworkPolicy.Enabled = new(false)
	})
	gone(t, c, server, "internal", &policyv1.PodDisruptionBudget{})
	gone(t, c, server, "internal", &networkingv1.NetworkPolicy{})
}

func TestDeletionLeavesOnlyWhatIsKept(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	issuer := client.ObjectKey{Name: render.ClusterIssuerName(server)}
	for name, kept := range map[string]bool{
		"internal-root-ca": true, "internal-ca": true, "internal-database": false, "internal-database-tls": false,
	} {
		secret := get(t, c, server, name, &corev1.Secret{})
		if owned := metav1.IsControlledBy(secret, server); owned == kept {
			t.Errorf("Secret %s: owned %t", name, owned)
		}
	}
	check(t, c.Delete(t.Context(), server))
	gone(t, c, server, "internal", &v1alpha1.AcmeServer{})
	if err := c.Get(t.Context(), issuer, &certmanagerv1.ClusterIssuer{}); !apierrors.IsNotFound(err) {
		t.Errorf("the ClusterIssuer is still there (%v)", err)
	}
}

func TestDeletionPolicyIsFollowed(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.DeletionPolicy = v1alpha1.DeletionDelete })
	for _, name := range []string{"internal-root-ca", "internal-ca"} {
		NewWithT(t).Eventually(func() bool {
			return metav1.IsControlledBy(get(t, c, server, name, &corev1.Secret{}), server)
		}, patience).Should(BeTrue(), name)
	}
	NewWithT(t).Eventually(func() appsv1.PersistentVolumeClaimRetentionPolicyType {
		return get(t, c, server, "internal-database", &appsv1.StatefulSet{}).Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted
	}, patience).Should(Equal(appsv1.DeletePersistentVolumeClaimRetentionPolicyType))
}

func TestCertManagerMayComeLaterAndGo(t *testing.T) {
	t.Parallel()
	c, stop, err := startCluster()
	check(t, err)
	defer stop()
	server := c.apply(t, v1alpha1.AcmeServerSpec{})
	c.startDatabase(t, server)
	c.startServers(t, server, 1)
	c.condition(t, server, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonServing)
	c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCertManagerMissing)
	issued := c.apply(t, v1alpha1.AcmeServerSpec{CA: issuedBy("company")})
	c.condition(t, issued, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionFalse, v1alpha1.ReasonCertManagerMissing)
	check(t, c.installCertManager())
	c.condition(t, issued, v1alpha1.ConditionCertificateAuthorityReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	c.issue(t, issued, newCompany(t))
	c.says(t, issued, metav1.ConditionTrue, "cert-manager renews it")
	c.register(t, render.ClusterIssuerName(server))
	c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	c.uninstallCertManager(t)
	c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCertManagerMissing)
	c.says(t, issued, metav1.ConditionTrue, "nobody renews it, as cert-manager is not installed")
	check(t, c.installCertManager())
	c.says(t, issued, metav1.ConditionTrue, "cert-manager renews it")
	c.register(t, render.ClusterIssuerName(server))
	c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	c.uninstallCertManager(t)
	check(t, c.Delete(t.Context(), server))
	gone(t, c, server, "internal", &v1alpha1.AcmeServer{})
}

func TestNamespaceThatEndsIsNoError(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	// Nothing empties it here.
	check(t, c.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: server.Namespace}}))
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: server.Namespace, Name: "internal"}}
	NewWithT(t).Eventually(func() time.Duration { // the API server, and the cache, learn of it a moment later
		check(t, client.IgnoreNotFound(c.Delete(t.Context(), service)))
		result, err := c.reconciler.Reconcile(t.Context(), requestOf(server))
		check(t, err)
		return result.RequeueAfter
	}, patience).Should(Equal(30 * time.Second))
}

// moduleDir returns where a module of go.mod is.
func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output() //nolint:gosec,noctx // a constant
	return strings.TrimSpace(string(out)), err
}
