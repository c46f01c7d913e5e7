package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// cachedServers is a cache that has AcmeServers, and nothing else.
type cachedServers struct {
	client.Reader
	servers []v1alpha1.AcmeServer
	err     error
}

func (c *cachedServers) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.AcmeServerList).Items = c.servers
	return c.err
}

func TestWhatIsMeasuredIsTheStatusOfNow(t *testing.T) {
	t.Parallel()
	status := v1alpha1.AcmeServerStatus{
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse},
			{Type: v1alpha1.ConditionClusterIssuerReady, Status: metav1.ConditionTrue},
		},
		CertificateAuthority: &v1alpha1.CertificateAuthorityStatus{NotAfter: metav1.NewTime(time.Unix(1800000000, 0))},
	}
	named := func(name string, status v1alpha1.AcmeServerStatus) v1alpha1.AcmeServer {
		return v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Namespace: "pki", Name: name}, Status: status}
	}
	registry := prometheus.NewPedanticRegistry()
	cached := &cachedServers{servers: []v1alpha1.AcmeServer{named("one", status), named("new", v1alpha1.AcmeServerStatus{})}}
	must(t, statusMetrics{cached}.onceElected(registry).Start(t.Context()))
	gathered := func() map[string]float64 {
		got := map[string]float64{}
		families, err := registry.Gather()
		must(t, err)
		for _, family := range families {
			for _, metric := range family.Metric {
				got[family.GetName()+" "+labelOf(metric, "name")+" "+labelOf(metric, "condition")] = metric.GetGauge().GetValue()
			}
		}
		return got
	}
	want := map[string]float64{
		"acme_operator_condition one Ready":                                    0,
		"acme_operator_condition one ClusterIssuerReady":                       1,
		"acme_operator_certificate_authority_not_after_timestamp_seconds one ": 1800000000,
	}
	if diff := cmp.Diff(want, gathered()); diff != "" {
		t.Errorf("the metrics (-want +got):\n%s", diff)
	}
	cached.servers = nil
	if got := gathered(); len(got) > 0 {
		t.Errorf("of an AcmeServer that is gone there is %v", got)
	}
	cached.err = errors.New("the cache has ended")
	if _, err := registry.Gather(); err == nil {
		t.Error("a list that failed is taken for an empty one")
	}
}
