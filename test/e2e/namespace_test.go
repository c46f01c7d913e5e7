//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/onsi/gomega"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// patience is how long a thing may take that a small machine does within seconds
// when it does nothing else.
const patience = 5 * time.Minute

// namespace is where a test lives.
type namespace struct {
	*environment
	name string
}

// newNamespace makes a namespace that only admits restricted pods. It is deleted
// after the test, unless that failed and E2E_KEEP is set.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "e2e-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := suite.client.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	n := &namespace{environment: suite, name: object.Name}
	t.Log("namespace", n.name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if t.Failed() {
			n.diagnose(ctx, t)
			if os.Getenv("E2E_KEEP") != "" {
				return
			}
		}
		if err := client.IgnoreNotFound(n.client.Delete(ctx, object)); err != nil {
			t.Error(err)
		}
	})
	return n
}

// await checks something until it is so; what is named in the failure.
func await(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	gomega.NewWithT(t).Eventually(check).WithContext(t.Context()).
		WithTimeout(patience).WithPolling(500*time.Millisecond).Should(gomega.Succeed(), what)
}

// apply makes an AcmeServer.
func (n *namespace) apply(t *testing.T, name string, spec v1alpha1.AcmeServerSpec) *v1alpha1.AcmeServer {
	t.Helper()
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: name}, Spec: spec}
	if err := n.client.Create(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	return server
}

// ready makes an AcmeServer and waits until it is Ready. The time that took is
// logged: it is a figure, not a check.
func (n *namespace) ready(t *testing.T, name string, spec v1alpha1.AcmeServerSpec) *v1alpha1.AcmeServer {
	t.Helper()
	begun := time.Now()
	server := n.apply(t, name, spec)
	n.awaitReady(t, server)
	t.Logf("%s: %.1f s from applied to a ClusterIssuer that is Ready", name, time.Since(begun).Seconds())
	return server
}

// edit changes the spec of an AcmeServer.
func (n *namespace) edit(t *testing.T, server *v1alpha1.AcmeServer, change func(*v1alpha1.AcmeServerSpec)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { return n.tryEdit(t.Context(), server, change) })
	if err != nil {
		t.Fatal(err)
	}
}

// tryEdit is one try of edit.
func (n *namespace) tryEdit(ctx context.Context, server *v1alpha1.AcmeServer, change func(*v1alpha1.AcmeServerSpec)) error {
	if err := n.client.Get(ctx, client.ObjectKeyFromObject(server), server); err != nil {
		return err
	}
	change(&server.Spec)
	return n.client.Update(ctx, server)
}

// awaitReady waits until an AcmeServer is Ready with its present spec and all of
// its servers are of that spec.
func (n *namespace) awaitReady(t *testing.T, server *v1alpha1.AcmeServer) {
	t.Helper()
	n.awaitCondition(t, server, v1alpha1.ConditionReady, v1alpha1.ReasonReady)
	await(t, "the servers are rolled out", func(ctx context.Context) error { return n.serversRolledOut(ctx, server) })
	await(t, "the status has them", func(ctx context.Context) error {
		if err := n.client.Get(ctx, client.ObjectKeyFromObject(server), server); err != nil {
			return err
		}
		if server.Status.ReadyReplicas != *server.Spec.Replicas {
			return fmt.Errorf("readyReplicas is %d, replicas %d", server.Status.ReadyReplicas, *server.Spec.Replicas)
		}
		return nil
	})
}

// awaitCondition waits until a condition has a reason, for the present spec, with
// a message that has all the texts.
func (n *namespace) awaitCondition(t *testing.T, server *v1alpha1.AcmeServer, condition, reason string, texts ...string) {
	t.Helper()
	await(t, condition+" is "+reason, func(ctx context.Context) error {
		if err := n.client.Get(ctx, client.ObjectKeyFromObject(server), server); err != nil {
			return err
		}
		c := meta.FindStatusCondition(server.Status.Conditions, condition)
		if c == nil || c.ObservedGeneration != server.Generation || c.Reason != reason {
			return fmt.Errorf("the conditions of generation %d are %s", server.Generation, conditions(server))
		}
		for _, text := range texts {
			if !strings.Contains(c.Message, text) {
				return fmt.Errorf("the message of %s does not say %q: %s", condition, text, c.Message)
			}
		}
		return nil
	})
}

// conditions returns all conditions of an AcmeServer, for people.
func conditions(server *v1alpha1.AcmeServer) string {
	var b strings.Builder
	for _, c := range server.Status.Conditions {
		fmt.Fprintf(&b, "\n  %s=%s (generation %d) %s: %s", c.Type, c.Status, c.ObservedGeneration, c.Reason, c.Message)
	}
	return b.String()
}

// awaitReplaced waits until an AcmeServer is Ready and the servers of before have ended:
// while they do, they answer, by what they were started with.
func (n *namespace) awaitReplaced(t *testing.T, server *v1alpha1.AcmeServer) {
	t.Helper()
	n.awaitReady(t, server)
	n.awaitEnded(t, server)
}

// awaitEnded waits until an AcmeServer has no more pods than it asks for, with those
// that end.
func (n *namespace) awaitEnded(t *testing.T, server *v1alpha1.AcmeServer) {
	t.Helper()
	await(t, "the servers of before have ended", func(ctx context.Context) error {
		all, err := n.allPods(ctx, n.name, render.PodSelector(server))
		if err != nil {
			return err
		}
		if len(all) != int(*server.Spec.Replicas) {
			return fmt.Errorf("there are %d pods, with those that end; want %d", len(all), *server.Spec.Replicas)
		}
		return nil
	})
}

// serversRolledOut is rolledOut of an AcmeServer's servers.
func (n *namespace) serversRolledOut(ctx context.Context, server *v1alpha1.AcmeServer) error {
	return n.rolledOut(ctx, client.ObjectKey{Namespace: n.name, Name: render.ServerName(server)})
}

// rolledOut checks that all pods of a Deployment are of its present spec and ready.
func (e *environment) rolledOut(ctx context.Context, key client.ObjectKey) error {
	var d appsv1.Deployment
	if err := e.client.Get(ctx, key, &d); err != nil {
		return err
	}
	if d.Status.ObservedGeneration != d.Generation {
		return fmt.Errorf("deployment %s: generation %d was not looked at", key, d.Generation)
	}
	for _, count := range []int32{d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas} {
		if count != *d.Spec.Replicas {
			return fmt.Errorf("deployment %s: of %d pods asked for, %d are there, %d updated, %d available",
				key, *d.Spec.Replicas, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas)
		}
	}
	return nil
}

// allPods returns the pods of a Deployment or StatefulSet, with those that end.
func (e *environment) allPods(ctx context.Context, namespace string, selector map[string]string) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := e.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels(selector))
	return list.Items, err
}

// pods returns the pods of a Deployment or StatefulSet that are not ending.
func (e *environment) pods(ctx context.Context, namespace string, selector map[string]string) ([]corev1.Pod, error) {
	all, err := e.allPods(ctx, namespace, selector)
	return slices.DeleteFunc(all, func(pod corev1.Pod) bool { return !pod.DeletionTimestamp.IsZero() }), err
}

// servers returns the pods of an AcmeServer's servers.
func (n *namespace) servers(t *testing.T, server *v1alpha1.AcmeServer) []corev1.Pod {
	t.Helper()
	pods, err := n.pods(t.Context(), n.name, render.PodSelector(server))
	if err != nil {
		t.Fatal(err)
	}
	return pods
}

// issuer returns an AcmeServer's ClusterIssuer.
func (n *namespace) issuer(t *testing.T, server *v1alpha1.AcmeServer) *certmanagerv1.ClusterIssuer {
	t.Helper()
	issuer := &certmanagerv1.ClusterIssuer{}
	if err := n.client.Get(t.Context(), client.ObjectKey{Name: render.ClusterIssuerName(server)}, issuer); err != nil {
		t.Fatal(err)
	}
	return issuer
}

// throughIngress is what a ClusterIssuer is asked for that solves http-01 through
// the ingress controller of the test cluster.
func throughIngress() v1alpha1.ClusterIssuerSpec {
	return v1alpha1.ClusterIssuerSpec{Solvers: []v1alpha1.Solver{{
		RawExtension: runtime.RawExtension{Raw: []byte(`{"http01": {"ingress": {"ingressClassName": "traefik"}}}`)},
	}}}
}

// trusted is a server that asks for no proof, where a test is about something else.
func trusted() v1alpha1.ValidationSpec {
	return v1alpha1.ValidationSpec{Mode: v1alpha1.ValidationTrusted}
}
