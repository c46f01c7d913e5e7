package controllers

import (
	"context"
	"fmt"
	"time"

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
// and many times a second after a load. The metrics have every run.
const garbageReportInterval = 10 * time.Minute

// garbageMessageInterval is how often a status says that a sweep fails for another
// reason: a text of the network may differ in each.
const garbageMessageInterval = time.Minute

// report writes the status where that is due, and an event where the condition has
// changed, or says that a sweep failed.
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
	old := meta.FindStatusCondition(live.Status.Conditions, condition.Type)
	transition := old == nil || old.Status != condition.Status || old.Reason != condition.Reason
	// It keeps the time of the last transition.
	meta.SetStatusCondition(&live.Status.Conditions, condition)
	if err := r.tell(ctx, server, run, *meta.FindStatusCondition(live.Status.Conditions, condition.Type)); err != nil {
		return err
	}
	if transition || run.err != nil {
		r.Servers.Recorder.Eventf(server, nil, eventType(condition), condition.Reason, condition.Type,
			"%s is %s: %s", condition.Type, condition.Status, brief(condition.Message))
	}
	return nil
}

// tell writes the status.
func (r *GarbageReconciler) tell(ctx context.Context, server *v1alpha1.AcmeServer, run garbageRun, condition metav1.Condition) error {
	key := client.ObjectKeyFromObject(server)
	next := metav1.NewTime(run.began.Add(run.duration).Add(run.again(garbageInterval(server))))
	told := &v1alpha1.GarbageCollectionStatus{
		LastRun: metav1.NewTime(run.began), Duration: metav1.Duration{Duration: run.duration.Round(time.Millisecond)},
		NextRun: &next, Swept: r.take(key),
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(told)
	if err == nil {
		var one map[string]any
		if one, err = runtime.DefaultUnstructuredConverter.ToUnstructured(&condition); err == nil {
			err = r.Servers.applyStatus(ctx, server, garbageOwner, map[string]any{"garbageCollection": fields, "conditions": []any{one}})
		}
	}
	if err != nil {
		r.add(key, told.Swept) // for the next
		return fmt.Errorf("telling of garbage: %w", err)
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
// another spec, or the last report is old, or is of another failure and not quite new.
func garbageReportDue(status v1alpha1.AcmeServerStatus, c metav1.Condition, now time.Time) bool {
	old := meta.FindStatusCondition(status.Conditions, c.Type)
	if old == nil || status.GarbageCollection == nil ||
		old.Status != c.Status || old.Reason != c.Reason || old.ObservedGeneration != c.ObservedGeneration {
		return true
	}
	since := now.Sub(status.GarbageCollection.LastRun.Time)
	return since >= garbageReportInterval || (old.Message != c.Message && since >= garbageMessageInterval)
}
