package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// metrics is what can be seen of a store.
type metrics struct {
	duration    *prometheus.HistogramVec
	unavailable *prometheus.CounterVec
	limited     *prometheus.CounterVec
}

// newMetrics registers the metrics of a store and its pool; r may be nil.
func newMetrics(r prometheus.Registerer, pool *pgxpool.Pool) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "acme_store_duration_seconds", Help: "Time a store method took, its wait for a connection included.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 15), // 250 µs to 4 s
		}, []string{"method"}),
		unavailable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_store_unavailable_total", Help: "Calls for which the database could not be asked.",
		}, []string{"method"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_store_limited_total", Help: "Spends refused by a limit, and those that a dry run would have refused.",
		}, []string{"limit", "outcome"}),
	}
	if r == nil {
		return m, nil
	}
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(pool.Stat()) })
	}
	for _, c := range []prometheus.Collector{
		m.duration, m.unavailable, m.limited,
		gauge("acme_store_connections", "Connections to the database.",
			func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }),
		gauge("acme_store_connections_in_use", "Connections to the database that a call has.",
			func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }),
		gauge("acme_store_connections_max", "Bound of the connections to the database.",
			func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of the store: %w", err)
		}
	}
	return m, nil
}

// observe records the time since start.
func (m *metrics) observe(method string, start time.Time) {
	m.duration.WithLabelValues(method).Observe(time.Since(start).Seconds())
}

// count records err where it says that the database could not be asked, and
// returns it.
func (m *metrics) count(method string, err error) error {
	if errors.Is(err, acme.ErrUnavailable) {
		m.unavailable.WithLabelValues(method).Inc()
	}
	return err
}
