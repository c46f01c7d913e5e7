package validation

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// result is how an attempt ended, as metrics and log lines name it.
type result string

const (
	valid      result = "valid"      // control is proved
	invalid    result = "invalid"    // the challenge has failed
	retried    result = "retried"    // another attempt follows
	returned   result = "returned"   // cut short by the end of this process
	unrecorded result = "unrecorded" // the queue did not take the result
)

// results lists every result.
var results = []result{valid, invalid, retried, returned, unrecorded}

// metrics of the attempts.
type metrics struct {
	attempts *prometheus.CounterVec // by type, result
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// newMetrics registers the metrics; with a nil registerer nobody sees them.
func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_validations_total",
			Help: "Attempts to prove control of an identifier, by challenge type and result.",
		}, []string{"type", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "acme_validation_duration_seconds",
			Help:    "Duration of the attempts, without that of recording them.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"type"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "acme_validations_in_flight",
			Help: "Attempts that are being made now.",
		}),
	}
	for _, t := range acme.ChallengeTypes { // so that each is 0 before it first happens
		for _, r := range results {
			m.attempts.WithLabelValues(string(t), string(r))
		}
		m.duration.WithLabelValues(string(t))
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.attempts, m.duration, m.inFlight} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of the validations: %w", err)
		}
	}
	return m, nil
}

// observe counts an attempt.
func (m *metrics) observe(t acme.ChallengeType, r result, took time.Duration) {
	m.attempts.WithLabelValues(string(t), string(r)).Inc()
	m.duration.WithLabelValues(string(t)).Observe(took.Seconds())
}
