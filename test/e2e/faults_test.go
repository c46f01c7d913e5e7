//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
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
		Spec: v1alpha1.AcmeRateLimitPolicySpec{
			OrdersPerAccount:           &v1alpha1.RateLimit{Count: new(int32(0))},
			ConcurrentOrdersPerAccount: &v1alpha1.CountLimit{Count: new(int32(mostAtOnce))},
		},
	}
	if err := n.client.Create(t.Context(), wide); err != nil {
		t.Fatal(err)
	}
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{
		RateLimitPolicyRef: &v1alpha1.RateLimitPolicyReference{Name: wide.Name},
		Replicas:           new(int32(2)), Validation: trusted(), Service: v1alpha1.ServiceSpec{Type: corev1.ServiceTypeNodePort},
	})
	n.awaitCondition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, v1alpha1.ReasonEnforced, "2 of 2 servers", "AcmeRateLimitPolicy wide")
	f := n.startTraffic(t, server)
	f.pass(t)
	return server, f
}

func TestNobodyNoticesARollingUpdate(t *testing.T) {
	n := newNamespace(t)
	server, traffic := n.underTraffic(t)
	requested := n.requestUntil(t, server)
	for _, version := range []string{"1", "2"} {
		n.edit(t, server, func(spec *v1alpha1.AcmeServerSpec) { spec.Pod.Annotations = map[string]string{"e2e/version": version} })
		n.awaitReady(t, server)
	}
	traffic.pass(t)
	n.awaitAll(t, server, requested())
	traffic.end(t, "two rolling updates of the Deployment, of 2 replicas")
	n.noOrderFailed(t)
	n.hold(t, server, traffic)
}

// requestUntil asks cert-manager for one certificate after the other, until what it
// returns is called, which returns all of them.
func (n *namespace) requestUntil(t *testing.T, server *v1alpha1.AcmeServer) (stop func() []*certmanagerv1.Certificate) {
	t.Helper()
	var all []*certmanagerv1.Certificate
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for number := 0; ; number++ {
			name := fmt.Sprintf("web-%d", number)
			certificate := n.certificate(server, name, name+"."+n.name+".apps.test")
			if err := n.client.Create(t.Context(), certificate); err != nil {
				t.Error(err)
				return
			}
			all = append(all, certificate)
			select {
			case <-over:
				return
			case <-t.Context().Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() []*certmanagerv1.Certificate {
		close(over)
		<-ended
		if len(all) < orders {
			t.Errorf("%d certificates were asked for: that is no load", len(all))
		}
		return all
	}
}

// noOrderFailed looks for an order of cert-manager that has not ended well.
func (n *namespace) noOrderFailed(t *testing.T) {
	t.Helper()
	var list acmev1.OrderList
	if err := n.client.List(t.Context(), &list, client.InNamespace(n.name)); err != nil {
		t.Fatal(err)
	}
	for _, order := range list.Items {
		if order.Status.State != acmev1.Valid || order.Status.FailureTime != nil {
			t.Errorf("Order %s is %q: %s", order.Name, order.Status.State, order.Status.Reason)
		}
	}
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
	n.hold(t, server, traffic)
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
	await(t, "it takes a write", func(ctx context.Context) error {
		return n.tryEdit(ctx, server, func(spec *v1alpha1.AcmeServerSpec) { spec.Replicas = new(int32(3)) })
	})
	n.awaitReady(t, server) // the operator is at work again
	traffic.pass(t)
	traffic.end(t, "the Kubernetes API gone for 30 s; then the operator adds a replica")
	n.hold(t, server, traffic)
}

// onNode runs a command on the node.
func (e *environment) onNode(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", append([]string{"exec", e.name + "-control-plane"}, args...)...)
	if _, err := output(cmd); err != nil {
		t.Fatal(err)
	}
}
