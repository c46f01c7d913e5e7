package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// garbageOwner owns the fields of the status that tell of garbage, and no others:
// the two controllers of an AcmeServer write one status without a conflict.
const garbageOwner = render.Operator + "-garbage"

// garbageReportInterval is how often a status says again that all is well. An
// AcmeServer in use has something to sweep at every run: telling of each would be a
// write to etcd, and an event to every watcher, each minute for each AcmeServer,
// and each second after a load. The metrics have every run.
const garbageReportInterval = 10 * time.Minute

// report writes the status where that is due, and an event where a sweep failed.
func (r *GarbageReconciler) report(ctx context.Context, server *v1alpha1.AcmeServer, run garbageRun) error {
	condition := garbageCondition(server, run)
	if !garbageReportDue(server.Status, condition, run.began) {
		return nil
	}
	// The cache may not have what was written last.
	live := &v1alpha1.AcmeServer{}
	if err := r.Servers.Live.Get(ctx, client.ObjectKeyFromObject(server), live); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("reading the status: %w", err))
	}
	if !garbageReportDue(live.Status, condition, run.began) {
		return nil
	}
	// It keeps the time of the last transition.
	meta.SetStatusCondition(&live.Status.Conditions, condition)
	condition = *meta.FindStatusCondition(live.Status.Conditions, condition.Type)
	told := &v1alpha1.GarbageCollectionStatus{
		LastRun: metav1.NewTime(run.began), Duration: metav1.Duration{Duration: run.duration.Round(time.Millisecond)},
		Swept: r.take(client.ObjectKeyFromObject(server)),
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(told)
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	one, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&condition)
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	err = r.Servers.applyStatus(ctx, server, garbageOwner, map[string]any{"garbageCollection": fields, "conditions": []any{one}})
	if err != nil {
		return err
	}
	if run.err != nil {
		r.Servers.Recorder.Eventf(server, nil, corev1.EventTypeWarning, condition.Reason, condition.Type,
			"%s is %s: %s", condition.Type, condition.Status, brief(condition.Message))
	}
	return nil
}

// clear takes back what was told of garbage, where none is collected any more.
func (r *GarbageReconciler) clear(ctx context.Context, server *v1alpha1.AcmeServer) error {
	if server.Status.GarbageCollection == nil &&
		meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionGarbageCollected) == nil {
		return nil
	}
	return r.Servers.applyStatus(ctx, server, garbageOwner, map[string]any{})
}

// garbageCondition says what came of a collection.
func garbageCondition(server *v1alpha1.AcmeServer, run garbageRun) metav1.Condition {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionGarbageCollected, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCollected,
		Message:            "what is expired or old goes from the database",
		ObservedGeneration: server.Generation, LastTransitionTime: metav1.NewTime(run.began),
	}
	if run.err != nil {
		condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonSweepFailed
		condition.Message = bounded("the database grows until this is tried again with success: " + run.err.Error())
	}
	return condition
}

// garbageReportDue reports whether a status is to be written: another outcome, or
// another spec, or the last report is old.
func garbageReportDue(status v1alpha1.AcmeServerStatus, c metav1.Condition, now time.Time) bool {
	old := meta.FindStatusCondition(status.Conditions, c.Type)
	return old == nil || status.GarbageCollection == nil ||
		old.Status != c.Status || old.Reason != c.Reason || old.ObservedGeneration != c.ObservedGeneration ||
		now.Sub(status.GarbageCollection.LastRun.Time) >= garbageReportInterval
}

// garbageMetrics is what can be seen of the collections of all AcmeServers.
type garbageMetrics struct {
	failures *prometheus.CounterVec
	rows     *prometheus.CounterVec
	duration prometheus.Histogram
}

// newGarbageMetrics registers the metrics; registerer may be nil.
func newGarbageMetrics(registerer prometheus.Registerer) (*garbageMetrics, error) {
	m := &garbageMetrics{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_operator_garbage_failures_total", Help: "Sweeps that failed; \"connection\" where none was begun.",
		}, []string{"sweep"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acme_operator_garbage_rows_total", Help: "Rows that were changed or deleted.",
		}, []string{"sweep"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "acme_operator_garbage_duration_seconds", Help: "Time a collection took; its count is that of collections.",
			Buckets: prometheus.ExponentialBuckets(0.004, 2, 14), // 4 ms to 33 s
		}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.failures, m.rows, m.duration} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of garbage: %w", err)
		}
	}
	return m, nil
}

// observe counts a collection.
func (m *garbageMetrics) observe(run garbageRun) {
	m.duration.Observe(run.duration.Seconds())
	if run.err != nil && len(run.report) == 0 {
		m.failures.WithLabelValues("connection").Inc()
	}
	for _, sweep := range run.report {
		m.rows.WithLabelValues(sweep.Name).Add(float64(sweep.Rows))
		if sweep.Err != nil {
			m.failures.WithLabelValues(sweep.Name).Inc()
		}
	}
}
