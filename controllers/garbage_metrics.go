package controllers

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// garbageMetrics is what can be seen of the collections of all AcmeServers.
type garbageMetrics struct {
	runs     *prometheus.CounterVec
	failures *prometheus.CounterVec
	rows     *prometheus.CounterVec
	overdue  *prometheus.GaugeVec
	duration prometheus.Histogram
}

// newGarbageMetrics registers the metrics; registerer may be nil.
func newGarbageMetrics(registerer prometheus.Registerer) (*garbageMetrics, error) {
	m := &garbageMetrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_operator_garbage_runs_total", Help: "Collections of garbage of an AcmeServer.",
		}, []string{"namespace", "name"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_operator_garbage_failures_total", Help: "Sweeps that failed; \"connection\" where none was begun.",
		}, []string{"namespace", "name", "sweep"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_operator_garbage_rows_total", Help: "Rows that were changed or deleted.",
		}, []string{"sweep"}),
		overdue: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "acme_operator_garbage_oldest_due_seconds",
			Help: "How long the oldest row that a sweep has left has been due; 0 where none is.",
		}, []string{"namespace", "name", "sweep"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "acme_operator_garbage_duration_seconds", Help: "Time a collection took.",
			Buckets: prometheus.ExponentialBuckets(0.004, 2, 14), // 4 ms to 33 s
		}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.runs, m.failures, m.rows, m.overdue, m.duration} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of garbage: %w", err)
		}
	}
	return m, nil
}

// observe counts a collection. The age of what a sweep that failed has left is not
// known, and stays as it was.
func (m *garbageMetrics) observe(of types.NamespacedName, run garbageRun) {
	m.duration.Observe(run.duration.Seconds())
	m.runs.WithLabelValues(of.Namespace, of.Name).Inc()
	if run.err != nil && len(run.report) == 0 {
		m.failures.WithLabelValues(of.Namespace, of.Name, "connection").Inc()
	}
	for _, sweep := range run.report {
		m.rows.WithLabelValues(sweep.Name).Add(float64(sweep.Rows))
		if sweep.Err != nil {
			m.failures.WithLabelValues(of.Namespace, of.Name, sweep.Name).Inc()
			continue
		}
		m.overdue.WithLabelValues(of.Namespace, of.Name, sweep.Name).Set(sweep.Overdue.Seconds())
	}
}

// forget drops the series of an AcmeServer that is gone, or has no garbage collected.
func (m *garbageMetrics) forget(of types.NamespacedName) {
	labels := prometheus.Labels{"namespace": of.Namespace, "name": of.Name}
	m.runs.DeletePartialMatch(labels)
	m.failures.DeletePartialMatch(labels)
	m.overdue.DeletePartialMatch(labels)
}
