//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// orders is how many certificates are asked for while something goes wrong.
const orders = 6

func TestEveryOrderEndsWellThoughAServerIsKilled(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{Replicas: new(int32(2)), ClusterIssuer: throughIngress()})

	var budget policyv1.PodDisruptionBudget
	if err := n.client.Get(t.Context(), client.ObjectKey{Namespace: n.name, Name: render.ServerName(server)}, &budget); err != nil {
		t.Error(err)
	}
	pods := n.servers(t, server)
	if len(pods) != 2 {
		t.Fatalf("there are %d servers", len(pods))
	}
	for _, pod := range pods {
		n.directory(t, pod.Name)
	}

	certificates := n.issueMany(t, server, "web", orders)
	n.awaitOrders(t, 1)
	// Without grace: like a node that loses its power.
	if err := n.client.Delete(t.Context(), &pods[0], client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	n.awaitAll(t, server, certificates)
	n.awaitReady(t, server)
}

// directory asks a server's pod for its directory, past the Service, and returns
// the names of its profiles.
func (n *namespace) directory(t *testing.T, pod string) map[string]string {
	t.Helper()
	body, err := n.clientset.CoreV1().Pods(n.name).ProxyGet("https", pod, "8443", render.DirectoryPath, nil).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("the directory of %s: %v: %s", pod, err, body)
	}
	var directory struct {
		NewOrder string `json:"newOrder"`
		Meta     struct {
			Profiles map[string]string `json:"profiles"`
		} `json:"meta"`
	}
	if err := json.Unmarshal(body, &directory); err != nil || directory.NewOrder == "" {
		t.Errorf("the directory of %s is %s (%v)", pod, body, err)
	}
	return directory.Meta.Profiles
}

// awaitOrders waits until the servers have some orders of the namespace.
func (n *namespace) awaitOrders(t *testing.T, count int) {
	t.Helper()
	await(t, "orders are made", func(ctx context.Context) error {
		var list acmev1.OrderList
		if err := n.client.List(ctx, &list, client.InNamespace(n.name)); err != nil {
			return err
		}
		made := 0
		for _, order := range list.Items {
			if order.Status.URL != "" {
				made++
			}
		}
		if made < count {
			return fmt.Errorf("of %d orders, %d are made", len(list.Items), made)
		}
		return nil
	})
}
