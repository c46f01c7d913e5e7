package validation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// methodFunc is a [method] of the test's own.
type methodFunc func(ctx context.Context, v *acme.Validation) *failure

func (f methodFunc) prove(ctx context.Context, v *acme.Validation) *failure { return f(ctx, v) }

// proves is a method by which everything is proved at once.
func proves(context.Context, *acme.Validation) *failure { return nil }

// newWorker returns a worker whose challenges of http-01 are proved by prove. It
// runs until stop is called, which returns when it has ended.
func newWorker(t *testing.T, q Queue, concurrency int, prove methodFunc) (w *Worker, stop func()) {
	t.Helper()
	w, err := New(Config{Queue: q, Resolvers: []string{"192.0.2.1"}, Concurrency: concurrency, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	w.methods = map[acme.ChallengeType]method{acme.HTTP01: prove}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	synctest.Wait() // until it has looked for work once
	return w, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

// validate calls Validate, and gives up after a minute.
func validate(t *testing.T, w *Worker, v *acme.Validation) (acme.Challenge, bool) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return w.Validate(ctx, v)
}

// valueOf returns the value of a counter or a gauge.
func valueOf(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}
