package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

func TestTheStatusIsMeasuredUntilTheAcmeServerIsGone(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	m, err := newServerMetrics(registry)
	must(t, err)
	status := v1alpha1.AcmeServerStatus{
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse},
			{Type: v1alpha1.ConditionClusterIssuerReady, Status: metav1.ConditionTrue},
		},
		CertificateAuthority: &v1alpha1.CertificateAuthorityStatus{NotAfter: metav1.NewTime(time.Unix(1800000000, 0))},
	}
	one, two := types.NamespacedName{Namespace: "pki", Name: "one"}, types.NamespacedName{Namespace: "pki", Name: "two"}
	m.observe(one, status)
	m.observe(two, status)
	m.forget(two)
	status.Conditions = status.Conditions[:1] // it asks for no ClusterIssuer any more
	m.observe(one, status)
	got := map[string]float64{}
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		for _, metric := range family.Metric {
			got[family.GetName()+" "+labelOf(metric, "name")+" "+labelOf(metric, "condition")] = metric.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"acme_operator_condition one Ready":                                    0,
		"acme_operator_certificate_authority_not_after_timestamp_seconds one ": 1800000000,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the metrics (-want +got):\n%s", diff)
	}
}
