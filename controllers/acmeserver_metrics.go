package controllers

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

var (
	conditionMetric = prometheus.NewDesc("acme_operator_condition",
		"1 where a condition of an AcmeServer is True, and 0 where it is not.", []string{"namespace", "name", "condition"}, nil)
	authorityMetric = prometheus.NewDesc("acme_operator_certificate_authority_not_after_timestamp_seconds",
		"When the certificate that an AcmeServer signs with, or one above it, ends, in Unix time.", []string{"namespace", "name"}, nil)
)

// statusMetrics is what alerts need of the status of all AcmeServers, as it is in the
// cache when it is asked for: nothing is kept.
type statusMetrics struct{ servers client.Reader }

// Describe implements [prometheus.Collector].
func (m statusMetrics) Describe(metrics chan<- *prometheus.Desc) {
	metrics <- conditionMetric
	metrics <- authorityMetric
}

// Collect implements [prometheus.Collector].
func (m statusMetrics) Collect(metrics chan<- prometheus.Metric) {
	var servers v1alpha1.AcmeServerList
	if err := m.servers.List(context.Background(), &servers, client.UnsafeDisableDeepCopy); err != nil {
		metrics <- prometheus.NewInvalidMetric(conditionMetric, fmt.Errorf("listing AcmeServers: %w", err))
		return
	}
	for i := range servers.Items {
		s := &servers.Items[i]
		for _, c := range s.Status.Conditions {
			value := 0.0
			if c.Status == metav1.ConditionTrue {
				value = 1
			}
			metrics <- gauge(conditionMetric, value, s.Namespace, s.Name, c.Type)
		}
		if a := s.Status.CertificateAuthority; a != nil {
			metrics <- gauge(authorityMetric, float64(a.NotAfter.Unix()), s.Namespace, s.Name)
		}
	}
}

// gauge returns a value at the moment.
func gauge(of *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(of, prometheus.GaugeValue, value, labels...)
}

// onceElected returns what registers the metrics when this operator is the leader: of
// several, one tells.
func (m statusMetrics) onceElected(registerer prometheus.Registerer) manager.Runnable {
	return manager.RunnableFunc(func(context.Context) error {
		if err := registerer.Register(m); err != nil {
			return fmt.Errorf("metrics of AcmeServers: %w", err)
		}
		return nil
	})
}
