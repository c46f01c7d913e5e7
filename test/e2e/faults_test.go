//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// underTraffic makes an AcmeServer of two servers that are reached from outside, by
// accounts that order thousands of certificates.
func (n *namespace) underTraffic(t *testing.T) (*v1alpha1.AcmeServer, *traffic) {
	t.Helper()
	wide := &v1alpha1.AcmeRateLimitPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: "wide"},
		Spec:       v1alpha1.AcmeRateLimitPolicySpec{OrdersPerAccount: &v1alpha1.RateLimit{Count: new(int32(0))}},
	}
	if err := n.client.Create(t.Context(), wide); err != nil {
		t.Fatal(err)
	}
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{
		RateLimitPolicyRef: &v1alpha1.RateLimitPolicyReference{Name: wide.Name},
		Replicas:           new(int32(2)), Validation: trusted(), Service: v1alpha1.ServiceSpec{Type: corev1.ServiceTypeNodePort},
	})
	f := n.startTraffic(t, server)
	f.pass(t)
	return server, f
}

func TestNobodyNoticesARollingUpdate(t *testing.T) {
	n := newNamespace(t)
	server, traffic := n.underTraffic(t)
	certificates := n.issueMany(t, server, "web", orders)
	for _, version := range []string{"1", "2"} {
		n.edit(t, server, func(spec *v1alpha1.AcmeServerSpec) { spec.Pod.Annotations = map[string]string{"e2e/version": version} })
		n.awaitReady(t, server)
	}
	traffic.pass(t)
	traffic.end(t, "two rolling updates of the Deployment, of 2 replicas")
	n.awaitAll(t, server, certificates)
}

func TestNobodyNoticesThatTheOperatorIsKilled(t *testing.T) {
	n := newNamespace(t)
	server, traffic := n.underTraffic(t)
	if err := n.client.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(n.operator.Namespace),
		client.MatchingLabels{"app.kubernetes.io/name": render.Operator}, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	// The next one does what there is to do.
	n.edit(t, server, func(spec *v1alpha1.AcmeServerSpec) { spec.Replicas = new(int32(3)) })
	n.awaitReady(t, server)
	traffic.pass(t)
	traffic.end(t, "kill -9 of the operator; its successor adds a replica")
}

func TestNobodyNoticesThatTheKubernetesAPIIsGone(t *testing.T) {
	n := newNamespace(t)
	server, traffic := n.underTraffic(t)
	const there, elsewhere = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/kube-apiserver.yaml"
	n.onNode(t, "mv", there, elsewhere)
	back := func() { n.onNode(t, "sh", "-c", "[ ! -e "+elsewhere+" ] || mv "+elsewhere+" "+there) }
	t.Cleanup(back) // if it fails
	await(t, "the API server is gone", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if _, err := n.clientset.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err == nil {
			return errors.New("it answers")
		}
		return nil
	})
	gone := time.Now()
	traffic.pass(t)
	<-time.After(time.Until(gone.Add(30 * time.Second))) // past what leases and watches outlive
	back()
	await(t, "the API server is back", func(ctx context.Context) error {
		_, err := n.clientset.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
	n.edit(t, server, func(spec *v1alpha1.AcmeServerSpec) { spec.Replicas = new(int32(3)) })
	n.awaitReady(t, server) // the operator is at work again
	traffic.pass(t)
	traffic.end(t, "the Kubernetes API gone for 30 s; then the operator adds a replica")
}

// onNode runs a command on the node.
func (e *environment) onNode(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", append([]string{"exec", e.name + "-control-plane"}, args...)...)
	if _, err := output(cmd); err != nil {
		t.Fatal(err)
	}
}
