//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// Not parallel: every other test needs the operator.
func TestServersServeWithoutTheOperatorAndItWritesNothingWhenItIsBack(t *testing.T) {
	n := newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{Replicas: new(int32(2)), Validation: trusted()})
	var before map[string]string
	was := &v1alpha1.AcmeServer{}
	// The operator has said its last word before it goes.
	n.awaitCondition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, v1alpha1.ReasonEnforced, "2 of 2 servers")
	n.awaitQuiet(t, server)

	n.withoutOperator(t, func() {
		n.issue(t, server, "web", "web.example")
		if err := n.client.Delete(t.Context(), &n.servers(t, server)[0]); err != nil {
			t.Fatal(err)
		}
		n.issue(t, server, "more", "more.example")
		await(t, "both servers are back", func(ctx context.Context) error { return n.serversRolledOut(ctx, server) })
		n.awaitEnded(t, server) // its end is written in the Deployment
		before = n.awaitQuiet(t, server)
		if err := n.client.Get(t.Context(), client.ObjectKeyFromObject(server), was); err != nil {
			t.Fatal(err)
		}
	})

	// The operator goes through what there is in the order in which it finds it, and
	// then through what comes: when it has looked at this one, it has at the other.
	late := n.apply(t, "late", v1alpha1.AcmeServerSpec{Database: v1alpha1.DatabaseSpec{
		SecretRef: &v1alpha1.DatabaseSecretReference{SecretReference: v1alpha1.SecretReference{Name: "missing"}},
	}})
	n.awaitCondition(t, late, v1alpha1.ConditionDatabaseReady, v1alpha1.ReasonSecretMissing)
	after := n.awaitQuiet(t, server)
	if err := n.client.Get(t.Context(), client.ObjectKeyFromObject(server), server); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the operator wrote (-version before +version after):\n%s\nthe AcmeServer (-before +after):\n%s", diff, cmp.Diff(was, server))
	}

	// It is at work all the same: what is taken away comes back.
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: render.ServerName(server)}}
	if err := n.client.Delete(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	await(t, "the Service is made again", func(ctx context.Context) error {
		return n.client.Get(ctx, client.ObjectKeyFromObject(service), &corev1.Service{})
	})
}

// awaitQuiet waits until nothing of an AcmeServer was written for a while, and
// returns the versions of all that belongs to it.
func (n *namespace) awaitQuiet(t *testing.T, server *v1alpha1.AcmeServer) map[string]string {
	t.Helper()
	const pause = 5 * time.Second
	var last map[string]string
	gomega.NewWithT(t).Eventually(func(ctx context.Context) error {
		now, err := n.versions(ctx, server)
		if err != nil {
			return err
		}
		diff := cmp.Diff(last, now)
		if last = now; diff != "" {
			return errors.New("written:\n" + diff)
		}
		return nil
	}).WithContext(t.Context()).WithTimeout(patience).WithPolling(pause).Should(gomega.Succeed())
	return last
}

// versions returns the resource version of everything that belongs to an
// AcmeServer, and its own.
func (n *namespace) versions(ctx context.Context, server *v1alpha1.AcmeServer) (map[string]string, error) {
	versions := map[string]string{}
	for _, list := range []client.ObjectList{
		&corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.ServiceList{}, &corev1.ServiceAccountList{},
		&appsv1.DeploymentList{}, &appsv1.StatefulSetList{},
		&policyv1.PodDisruptionBudgetList{}, &networkingv1.NetworkPolicyList{},
	} {
		kind, err := apiutil.GVKForObject(list, n.client.Scheme())
		if err != nil {
			return nil, err
		}
		metadata := &metav1.PartialObjectMetadataList{}
		metadata.SetGroupVersionKind(kind)
		err = n.client.List(ctx, metadata, client.InNamespace(n.name), client.MatchingLabels{
			render.LabelManagedBy: render.Operator, "app.kubernetes.io/instance": server.Name,
		})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", kind.Kind, err)
		}
		if len(metadata.Items) == 0 {
			return nil, fmt.Errorf("there is no object of %s", kind.Kind)
		}
		for _, item := range metadata.Items {
			versions[kind.Kind+" "+item.Name] = item.ResourceVersion
		}
	}
	var current v1alpha1.AcmeServer
	if err := n.client.Get(ctx, client.ObjectKeyFromObject(server), &current); err != nil {
		return nil, err
	}
	versions["AcmeServer"] = current.ResourceVersion
	issuer := &metav1.PartialObjectMetadata{}
	issuer.SetGroupVersionKind(render.ClusterIssuerGVK)
	if err := n.client.Get(ctx, client.ObjectKey{Name: render.ClusterIssuerName(server)}, issuer); err != nil {
		return nil, err
	}
	versions["ClusterIssuer"] = issuer.ResourceVersion
	return versions, nil
}
