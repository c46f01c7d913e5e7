package server

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Ops answers the kubelet and Prometheus: /healthz, /readyz, /metrics.
//
// Alive is whoever answers at all: a restart mends no database. Ready is whoever
// could ask the store of late. One slow answer does not take a replica out: all
// of them would go at once, and a Service without endpoints is worse than one
// that answers 503.
type Ops struct {
	store    interface{ Ping(context.Context) error }
	open     atomic.Bool
	draining atomic.Bool

	asking   sync.Mutex
	asked    time.Time // of the last ping; guarded by asking
	failures int       // pings failed in a row; guarded by asking
}

// The bounds of readiness.
const (
	pingTimeout  = 2 * time.Second
	pingInterval = time.Second // several probes share an answer
	pingFailures = 3           // in a row, until not ready
)

// NewOps returns the operations of a replica with the given store, which is not
// ready before [Ops.Open].
func NewOps(store Store) *Ops { return &Ops{store: store} }

// Open lets the replica be ready: clients that connect from now on are answered.
func (o *Ops) Open() { o.open.Store(true) }

// Drain makes the replica not ready, for good: it is about to stop.
func (o *Ops) Drain() { o.draining.Store(true) }

// Handler serves the three paths.
func (o *Ops) Handler(g prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", o.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
	return mux
}

// ready answers 200 or 503.
func (o *Ops) ready(w http.ResponseWriter, r *http.Request) {
	switch {
	case !o.open.Load():
		http.Error(w, "starting", http.StatusServiceUnavailable)
	case o.draining.Load():
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	case !o.storeAnswers(r.Context()):
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
	default:
		_, _ = w.Write([]byte("ok\n"))
	}
}

// storeAnswers reports whether the store answered one of the last pings.
func (o *Ops) storeAnswers(ctx context.Context) bool {
	o.asking.Lock()
	defer o.asking.Unlock()
	if time.Since(o.asked) >= pingInterval {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
		defer cancel()
		first := o.asked.IsZero()
		o.asked = time.Now()
		switch err := o.store.Ping(ctx); {
		case err == nil:
			o.failures = 0
		case first: // never ready yet: it does not start being so on credit
			o.failures = pingFailures
		default:
			o.failures++
		}
	}
	return o.failures < pingFailures
}
