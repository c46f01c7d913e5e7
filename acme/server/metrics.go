package server

import (
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the requests served.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	floods   *prometheus.CounterVec
}

// newMetrics registers the metrics; inFlight returns how many requests are worked on.
func newMetrics(r prometheus.Registerer, inFlight func() float64) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_requests_total",
			Help: "Requests answered, by route, HTTP status and ACME problem type (empty where there was none).",
		}, []string{"route", "status", "problem"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "acme_request_duration_seconds",
			Help:    "Time from the first byte read to the last one written, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}, []string{"route"}),
		floods: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_requests_limited_total",
			Help: "Requests refused by the limit requestsPerAddress, and those that a dry run would have refused.",
		}, []string{"outcome"}),
	}
	r.MustRegister(m.requests, m.duration, m.floods, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "acme_requests_in_flight", Help: "Requests of ACME that are worked on; beyond a bound, more are answered with 503.",
	}, inFlight))
	return m
}

func (m *metrics) observe(route string, status int, problem string, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status), problem).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// stack returns the stack of a panic, for the log.
func stack() string { return string(debug.Stack()) }
