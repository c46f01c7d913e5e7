package controllers

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// limitMetrics is what can be seen of the limits of all AcmeServers.
type limitMetrics struct {
	failures    prometheus.Counter
	enforcement prometheus.Histogram
	replicas    *prometheus.GaugeVec
	throttled   *prometheus.GaugeVec
}

// newLimitMetrics registers the metrics; registerer may be nil.
func newLimitMetrics(registerer prometheus.Registerer) (*limitMetrics, error) {
	m := &limitMetrics{
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "acme_operator_rate_limit_failures_total", Help: "Times that a database could not be asked about its limits.",
		}),
		enforcement: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "acme_operator_rate_limit_enforcement_seconds", Help: "Time from a policy in the database to its enforcement by every server.",
			Buckets: []float64{0.25, 0.5, 1, 2, 5, 10, 30, 60, 300},
		}),
		replicas: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "acme_operator_rate_limit_replicas", Help: "Servers at work, by whether they enforce the limits in force.",
		}, []string{"namespace", "name", "enforcing"}),
		throttled: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "acme_operator_rate_limit_throttled", Help: "Subjects that have used up a limit; no more than 20 of an AcmeServer are counted.",
		}, []string{"namespace", "name", "limit"}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.failures, m.enforcement, m.replicas, m.throttled} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of rate limits: %w", err)
		}
	}
	return m, nil
}

// observe tells what was found of an AcmeServer.
func (m *limitMetrics) observe(l *limitScope) {
	if l.inForce == nil {
		return
	}
	enforcing := enforcingOf(l)
	m.replicas.WithLabelValues(l.server.Namespace, l.server.Name, "true").Set(float64(enforcing))
	m.replicas.WithLabelValues(l.server.Namespace, l.server.Name, "false").Set(float64(len(l.replicas) - enforcing))
	counts := throttledBy(l.throttled)
	for name := range acme.Limits {
		if name == acme.ConcurrentOrdersPerAccount { // no time can tell
			continue
		}
		m.throttled.WithLabelValues(l.server.Namespace, l.server.Name, string(name)).Set(float64(counts[name]))
	}
}

// forget drops what was told of an AcmeServer.
func (m *limitMetrics) forget(server types.NamespacedName) {
	labels := prometheus.Labels{"namespace": server.Namespace, "name": server.Name}
	m.replicas.DeletePartialMatch(labels)
	m.throttled.DeletePartialMatch(labels)
}
