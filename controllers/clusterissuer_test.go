package controllers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

func TestClusterIssuerFollowsTheSpec(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.applyFree(t, v1alpha1.AcmeServerSpec{})
	c.start(t, server)
	first := render.ClusterIssuerName(server)
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.ClusterIssuer.Name = "renamed-" + server.Name })
	gone(t, c, &v1alpha1.AcmeServer{}, first, &certmanagerv1.ClusterIssuer{})
	c.register(t, "renamed-"+server.Name)
	c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.ClusterIssuer.Enabled = new(false) })
	gone(t, c, &v1alpha1.AcmeServer{}, "renamed-"+server.Name, &certmanagerv1.ClusterIssuer{})
	NewWithT(t).Eventually(func(g Gomega) {
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(server), server)).To(Succeed())
		g.Expect(server.Finalizers).To(BeEmpty())
		g.Expect(meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionClusterIssuerReady)).To(BeNil())
	}, patience).Should(Succeed())
}

func TestClusterIssuerAsksForAProfileWhenEveryServerKnowsIt(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.ready(t, v1alpha1.AcmeServerSpec{})
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) {
		s.Profiles = []v1alpha1.Profile{{Name: "brief", Lifetime: metav1.Duration{Duration: 2 * time.Hour}}}
		s.ClusterIssuer.Profile = "brief"
		s.Replicas = new(int32(2))
	})
	c.condition(t, server, v1alpha1.ConditionClusterIssuerReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	c.startServers(t, server, 2, 1)
	profile := func() string {
		issuer := &certmanagerv1.ClusterIssuer{}
		check(t, c.Get(t.Context(), client.ObjectKey{Name: render.ClusterIssuerName(server)}, issuer))
		return issuer.Spec.ACME.Profile
	}
	NewWithT(t).Eventually(func() int32 { // written by the reconcile that saw them, after all else
		check(t, c.Get(t.Context(), client.ObjectKeyFromObject(server), server))
		return server.Status.ReadyReplicas
	}, patience).Should(BeEquivalentTo(2))
	if got := profile(); got != "" {
		t.Errorf("it asks for the profile %s while a server ends that does not know it", got)
	}
	c.startServers(t, server, 2)
	NewWithT(t).Eventually(profile, patience).Should(Equal("brief"))
}

func TestClusterIssuerIsNotForEveryNamespaceToChoose(t *testing.T) {
	t.Parallel()
	c := shared
	solver := v1alpha1.Solver{RawExtension: runtime.RawExtension{
		Raw: []byte(`{"dns01":{"rfc2136":{"nameserver":"192.0.2.1:53","tsigKeyName":"k","tsigSecretSecretRef":{"name":"theirs","key":"k"}}}}`),
	}}
	for _, test := range []struct {
		name, field string
		issuer      v1alpha1.ClusterIssuerSpec
	}{
		{"a name", "spec.clusterIssuer.name", v1alpha1.ClusterIssuerSpec{Name: "letsencrypt"}},
		{"a solver", "spec.clusterIssuer.solvers", v1alpha1.ClusterIssuerSpec{Solvers: []v1alpha1.Solver{solver}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := c.ready(t, v1alpha1.AcmeServerSpec{})
			first := render.ClusterIssuerName(server)
			c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.ClusterIssuer = test.issuer })
			message := c.condition(t, server, v1alpha1.ConditionClusterIssuerReady, metav1.ConditionFalse, v1alpha1.ReasonNotAllowed)
			if !strings.Contains(message, test.field) || !strings.Contains(message, "--cluster-issuer-namespaces") {
				t.Errorf("the message is %q, and should name %s and the flag", message, test.field)
			}
			gone(t, c, &v1alpha1.AcmeServer{}, first, &certmanagerv1.ClusterIssuer{})
			c.change(t, server, func(s *v1alpha1.AcmeServerSpec) {
				s.ClusterIssuer = v1alpha1.ClusterIssuerSpec{Name: first, Email: "pki@corp.example"} // its own
			})
			c.register(t, first)
			c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		})
	}
}

func TestClusterIssuerOfOthersIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := shared
	server := c.applyFree(t, v1alpha1.AcmeServerSpec{})
	theirs := &certmanagerv1.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: "theirs-" + server.Name}}
	theirs.Spec.ACME = &acmev1.ACMEIssuer{Server: "https://acme.example/directory"}
	theirs.Spec.ACME.PrivateKey.Name = "theirs"
	check(t, c.Create(t.Context(), theirs))
	c.start(t, server)
	want := theirs.Spec.DeepCopy()
	c.change(t, server, func(s *v1alpha1.AcmeServerSpec) { s.ClusterIssuer.Name = theirs.Name })
	message := c.condition(t, server, v1alpha1.ConditionClusterIssuerReady, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	if !strings.Contains(message, "ClusterIssuer "+theirs.Name) {
		t.Errorf("the message is %q, and should name the ClusterIssuer", message)
	}
	check(t, c.Delete(t.Context(), server))
	gone(t, c, &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Namespace: freeNamespace}}, server.Name, &v1alpha1.AcmeServer{})
	check(t, c.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs))
	if diff := cmp.Diff(want, &theirs.Spec); diff != "" {
		t.Errorf("their ClusterIssuer was changed (-want +got):\n%s", diff)
	}
}
