package controllers

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// RateLimitPolicyReconciler writes the status of AcmeRateLimitPolicies. It asks no
// database: all that it tells is in the AcmeServers, where [RateLimitReconciler]
// has written it.
type RateLimitPolicyReconciler struct {
	servers *AcmeServerReconciler
}

// NewRateLimitPolicies returns a reconciler, which SetupWithManager lets run. It has
// the clients, the recorder and the clock of servers.
func NewRateLimitPolicies(servers *AcmeServerReconciler) (*RateLimitPolicyReconciler, error) {
	if servers == nil {
		return nil, errors.New("controllers: an AcmeServerReconciler is needed")
	}
	return &RateLimitPolicyReconciler{servers: servers}, nil
}

// SetupWithManager lets the reconciler run with the manager of its AcmeServers, and
// of the [RateLimitReconciler], whose index it uses.
func (r *RateLimitPolicyReconciler) SetupWithManager(mgr ctrl.Manager) error {
	limitsChanged := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, _ := e.ObjectOld.(*v1alpha1.AcmeServer)
		now, ok := e.ObjectNew.(*v1alpha1.AcmeServer)
		return ok && (!equality.Semantic.DeepEqual(before.Status.RateLimits, now.Status.RateLimits) ||
			!equality.Semantic.DeepEqual(enforcedCondition(before), enforcedCondition(now)) ||
			!equality.Semantic.DeepEqual(before.Spec.RateLimitPolicyRef, now.Spec.RateLimitPolicyRef))
	}}
	err := ctrl.NewControllerManagedBy(mgr).Named("ratelimitpolicies").
		For(&v1alpha1.AcmeRateLimitPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.AcmeServer{}, handler.EnqueueRequestsFromMapFunc(policyOfServer), builder.WithPredicates(limitsChanged)).
		WithOptions(options(1)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("controller of AcmeRateLimitPolicies: %w", err)
	}
	return nil
}

// enforcedCondition returns what an AcmeServer says of its limits; nil for nothing yet.
func enforcedCondition(server *v1alpha1.AcmeServer) *metav1.Condition {
	return meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionRateLimitPolicyEnforced)
}

// policyOfServer maps an AcmeServer, as it was and as it is, to the policy that it
// refers to.
func policyOfServer(_ context.Context, o client.Object) []reconcile.Request {
	server, ok := o.(*v1alpha1.AcmeServer)
	if !ok || server.Spec.RateLimitPolicyRef == nil {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: server.Namespace, Name: server.Spec.RateLimitPolicyRef.Name}}}
}

// Reconcile writes the status of one AcmeRateLimitPolicy, if it has changed.
func (r *RateLimitPolicyReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	policy := &v1alpha1.AcmeRateLimitPolicy{}
	if err := r.servers.Client.Get(ctx, req.NamespacedName, policy); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !policy.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	var servers v1alpha1.AcmeServerList
	err := r.servers.Client.List(ctx, &servers, client.InNamespace(policy.Namespace), client.MatchingFields{policyIndex: policy.Name})
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("listing AcmeServers: %w", err)
	}
	return ctrl.Result{}, r.report(ctx, policy, servers.Items)
}

// report writes the status, once, if it has changed, and an event for each
// condition that did.
func (r *RateLimitPolicyReconciler) report(ctx context.Context, policy *v1alpha1.AcmeRateLimitPolicy, servers []v1alpha1.AcmeServer) error {
	now := metav1.NewTime(r.servers.Clock())
	if equality.Semantic.DeepEqual(policy.Status, policyStatusOf(policy, servers, now)) {
		return nil
	}
	// The cache may not have what was written last.
	live := &v1alpha1.AcmeRateLimitPolicy{}
	if err := r.servers.Live.Get(ctx, client.ObjectKeyFromObject(policy), live); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("reading the status: %w", err))
	}
	before := live.Status
	policy.Status = before
	status := policyStatusOf(policy, servers, now)
	if equality.Semantic.DeepEqual(before, status) {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	applied := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	applied.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AcmeRateLimitPolicy"))
	applied.SetName(policy.Name)
	applied.SetNamespace(policy.Namespace)
	err = r.servers.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(applied),
		client.FieldOwner(render.Operator), client.ForceOwnership)
	if err != nil {
		return client.IgnoreNotFound(fmt.Errorf("writing the status: %w", err))
	}
	for _, c := range status.Conditions {
		old := meta.FindStatusCondition(before.Conditions, c.Type)
		if old == nil || old.Status != c.Status || old.Reason != c.Reason {
			r.servers.Recorder.Eventf(policy, nil, eventType(c), c.Reason, c.Type, "%s is %s: %s", c.Type, c.Status, brief(c.Message))
		}
	}
	return nil
}
