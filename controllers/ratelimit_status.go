package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// limitsOwner owns the fields of an AcmeServer's status that tell of limits, and no
// others.
const limitsOwner = render.Operator + "-ratelimits"

// The bounds of lists in a status, which is kept in etcd and sent to every watcher.
const (
	maxThrottled = 20
	maxBehind    = 10
	maxUnpaused  = 100
	maxSubject   = 512 // bytes; an account and a name are 280
)

// enforcement says who enforces the limits in force.
func enforcement(l *limitScope) outcome {
	what := "the built-in limits"
	if l.policy != nil {
		what = fmt.Sprintf("the AcmeRateLimitPolicy %s of generation %d", l.policy.Name, l.policy.Generation)
	}
	enforcing, all := enforcingOf(l), len(l.replicas)
	switch {
	case all == 0:
		return outcome{metav1.ConditionTrue, v1alpha1.ReasonEnforced, "no server is at work; each reads " + what + " before its first request"}
	case enforcing < all:
		return outcome{metav1.ConditionFalse, v1alpha1.ReasonProgressing, fmt.Sprintf(
			"%d of %d servers enforce %s; the others do within a second of when they reach the database", enforcing, all, what)}
	case l.inForce.DryRun:
		what += ", whose mode is DryRun: nothing is refused"
	}
	return outcome{metav1.ConditionTrue, v1alpha1.ReasonEnforced, fmt.Sprintf("%d of %d servers enforce %s", enforcing, all, what)}
}

// enforcingOf counts the servers that enforce what is in force.
func enforcingOf(l *limitScope) (n int) {
	for _, r := range l.replicas {
		if r.Generation == l.inForce.Generation {
			n++
		}
	}
	return n
}

// limitsStatus returns what the status tells of limits: what was told before where
// the database could not be asked.
func limitsStatus(l *limitScope, before *v1alpha1.RateLimitsStatus) *v1alpha1.RateLimitsStatus {
	if l.inForce == nil {
		return before
	}
	status := &v1alpha1.RateLimitsStatus{
		Generation: l.inForce.Generation, Mode: v1alpha1.RateLimitEnforce, Limits: render.RateLimits(l.inForce),
		Replicas: int32(len(l.replicas)), Enforcing: int32(enforcingOf(l)), //nolint:gosec // there are no two billion pods
		Unpaused: unpauseSubjects(l.policy),
	}
	if l.inForce.DryRun {
		status.Mode = v1alpha1.RateLimitDryRun
	}
	switch {
	case l.limits != nil && l.policy != nil:
		status.Policy, status.PolicyGeneration = l.policy.Name, l.policy.Generation
	case l.limits == nil && before != nil: // what was in force stays
		status.Policy, status.PolicyGeneration = before.Policy, before.PolicyGeneration
	}
	for _, r := range l.replicas {
		if r.Generation != l.inForce.Generation && len(status.Behind) < maxBehind {
			status.Behind = append(status.Behind, v1alpha1.ReplicaBehind{Name: r.Name, Generation: r.Generation})
		}
	}
	for _, t := range l.throttled {
		status.Throttled = append(status.Throttled, v1alpha1.ThrottledSubject{
			Limit: string(t.Limit), Subject: t.Subject,
			Until: metav1.NewTime(t.Until.Add(time.Minute - 1).Truncate(time.Minute)),
		})
	}
	return status
}

// report writes the status where it has changed, and an event for each transition.
func (r *RateLimitReconciler) report(ctx context.Context, l *limitScope) error {
	r.metrics.observe(l)
	r.tellLeftOut(l)
	condition := metav1.Condition{
		Type: v1alpha1.ConditionRateLimitPolicyEnforced, Status: l.outcome.status, Reason: l.outcome.reason,
		Message: bounded(l.outcome.message), ObservedGeneration: l.server.Generation, LastTransitionTime: metav1.NewTime(l.now),
	}
	if limitsTold(l, l.server, condition) {
		return nil
	}
	// The cache may not have what was written last.
	live := &v1alpha1.AcmeServer{}
	if err := r.Servers.Live.Get(ctx, client.ObjectKeyFromObject(l.server), live); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("reading the status: %w", err))
	}
	if limitsTold(l, live, condition) {
		return nil
	}
	old := meta.FindStatusCondition(live.Status.Conditions, condition.Type)
	transition := old == nil || old.Status != condition.Status || old.Reason != condition.Reason
	if old != nil && old.Status == condition.Status {
		condition.LastTransitionTime = old.LastTransitionTime
	}
	fields := map[string]any{}
	if status := limitsStatus(l, live.Status.RateLimits); status != nil {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
		if err != nil {
			return fmt.Errorf("writing the status: %w", err)
		}
		fields["rateLimits"] = content
	}
	one, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&condition)
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	fields["conditions"] = []any{one}
	if err := r.Servers.applyStatus(ctx, l.server, limitsOwner, fields); err != nil {
		return err
	}
	if transition {
		r.Servers.Recorder.Eventf(l.server, nil, eventType(condition), condition.Reason, condition.Type,
			"%s is %s: %s", condition.Type, condition.Status, brief(condition.Message))
	}
	r.tellUnpaused(ctx, l)
	return nil
}

// limitsTold reports whether the status of an AcmeServer says it already.
func limitsTold(l *limitScope, server *v1alpha1.AcmeServer, condition metav1.Condition) bool {
	old := meta.FindStatusCondition(server.Status.Conditions, condition.Type)
	return old != nil && old.Status == condition.Status && old.Reason == condition.Reason && old.Message == condition.Message &&
		old.ObservedGeneration == condition.ObservedGeneration &&
		equality.Semantic.DeepEqual(server.Status.RateLimits, limitsStatus(l, server.Status.RateLimits))
}

// eventType returns the type of an event that tells of a condition.
func eventType(c metav1.Condition) string {
	switch {
	case c.Status == metav1.ConditionTrue, c.Reason == v1alpha1.ReasonWaiting, c.Reason == v1alpha1.ReasonProgressing,
		c.Reason == v1alpha1.ReasonNotReferenced:
		return corev1.EventTypeNormal
	}
	return corev1.EventTypeWarning
}

// throttledBy counts throttled subjects by their limit.
func throttledBy(throttled []acme.Throttle) map[acme.LimitName]int {
	counts := map[acme.LimitName]int{}
	for _, t := range throttled {
		counts[t.Limit]++
	}
	return counts
}
