package controllers

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// serverMetrics is what alerts need of the status of all AcmeServers.
type serverMetrics struct {
	conditions *prometheus.GaugeVec
	authority  *prometheus.GaugeVec
}

// newServerMetrics registers the metrics; registerer may be nil.
func newServerMetrics(registerer prometheus.Registerer) (*serverMetrics, error) {
	m := &serverMetrics{
		conditions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "acme_operator_condition", Help: "1 where a condition of an AcmeServer is True, and 0 where it is not.",
		}, []string{"namespace", "name", "condition"}),
		authority: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "acme_operator_certificate_authority_not_after_timestamp_seconds",
			Help: "When the certificate that an AcmeServer signs with, or one above it, ends, in Unix time.",
		}, []string{"namespace", "name"}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.conditions, m.authority} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of AcmeServers: %w", err)
		}
	}
	return m, nil
}

// optionalConditions are those that an AcmeServer may cease to have.
var optionalConditions = []string{v1alpha1.ConditionClusterIssuerReady, v1alpha1.ConditionGarbageCollected}

// observe tells of a status.
func (m *serverMetrics) observe(of types.NamespacedName, status v1alpha1.AcmeServerStatus) {
	for _, condition := range optionalConditions {
		if meta.FindStatusCondition(status.Conditions, condition) == nil {
			m.conditions.DeleteLabelValues(of.Namespace, of.Name, condition)
		}
	}
	for _, c := range status.Conditions {
		value := 0.0
		if c.Status == metav1.ConditionTrue {
			value = 1
		}
		m.conditions.WithLabelValues(of.Namespace, of.Name, c.Type).Set(value)
	}
	if a := status.CertificateAuthority; a != nil {
		m.authority.WithLabelValues(of.Namespace, of.Name).Set(float64(a.NotAfter.Unix()))
	}
}

// forget drops what was told of an AcmeServer.
func (m *serverMetrics) forget(of types.NamespacedName) {
	labels := prometheus.Labels{"namespace": of.Namespace, "name": of.Name}
	m.conditions.DeletePartialMatch(labels)
	m.authority.DeletePartialMatch(labels)
}
