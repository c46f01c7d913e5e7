package controllers

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// statusOf returns the status of an AcmeServer after its phases. It is a function
// of the scope alone; times are those of the conditions that stay as they are.
func statusOf(s *scope) v1alpha1.AcmeServerStatus {
	status := *s.server.Status.DeepCopy()
	status.ObservedGeneration = s.server.Generation
	status.DirectoryURL = render.DirectoryURL(s.server)
	status.Selector = labels.SelectorFromSet(render.PodSelector(s.server)).String()
	status.Replicas, status.ReadyReplicas = 0, 0
	if s.deployment != nil {
		status.Replicas, status.ReadyReplicas = s.deployment.Status.Replicas, s.deployment.Status.ReadyReplicas
	}
	if s.authority != nil {
		status.CertificateAuthority = authorityStatus(s)
	}
	set := func(condition string, o outcome) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: condition, Status: o.status, Reason: o.reason, Message: bounded(o.message),
			ObservedGeneration: s.server.Generation, LastTransitionTime: metav1.NewTime(s.now),
		})
	}
	for _, condition := range v1alpha1.ServerConditions {
		if condition == v1alpha1.ConditionClusterIssuerReady && !render.ClusterIssuerEnabled(s.server) && s.failed([]string{condition}) == "" {
			meta.RemoveStatusCondition(&status.Conditions, condition)
			continue
		}
		set(condition, outcomeFor(s, condition))
	}
	set(v1alpha1.ConditionIssuanceRestricted, restriction(s.server))
	set(v1alpha1.ConditionReady, readiness(status.Conditions))
	return status
}

// outcomeFor returns what a condition says: what came of its phase, or what is in
// the cluster.
func outcomeFor(s *scope, condition string) outcome {
	if o, ok := s.outcomes[condition]; ok {
		return o
	}
	switch condition {
	case v1alpha1.ConditionAvailable:
		return availability(s)
	case v1alpha1.ConditionClusterIssuerReady:
		return issuerReadiness(s)
	default:
		return waiting("the phases before it")
	}
}

// waiting is the outcome of a phase that was not begun.
func waiting(what string) outcome {
	return outcome{metav1.ConditionFalse, v1alpha1.ReasonWaiting, "waits for " + what}
}

// readiness is the first condition that is not True, or the good news.
func readiness(conditions []metav1.Condition) outcome {
	for _, name := range v1alpha1.ServerConditions {
		c := meta.FindStatusCondition(conditions, name)
		if c != nil && c.Status != metav1.ConditionTrue {
			return outcome{metav1.ConditionFalse, c.Reason, c.Message}
		}
	}
	return outcome{metav1.ConditionTrue, v1alpha1.ReasonReady, "certificates are issued"}
}

// availability tells of the servers.
func availability(s *scope) outcome {
	if o, ok := s.outcomes[v1alpha1.ConditionAvailable]; ok {
		return o
	}
	d := s.deployment
	switch {
	case d == nil:
		return waiting("the database and the certificate authority")
	case render.Replicas(s.server) == 0:
		return outcome{metav1.ConditionTrue, v1alpha1.ReasonScaledToZero, "spec.replicas is 0: nothing is served"}
	case d.Status.AvailableReplicas == 0:
		return outcome{metav1.ConditionFalse, stalled(d), fmt.Sprintf(
			"no server is ready%s; if that lasts, see `kubectl -n %s logs deployment/%s`", progress(d), d.Namespace, d.Name)}
	default:
		return outcome{metav1.ConditionTrue, v1alpha1.ReasonServing, fmt.Sprintf(
			"%d of %d servers are ready%s", d.Status.AvailableReplicas, render.Replicas(s.server), progress(d))}
	}
}

// stalled says whether Kubernetes has given up hope.
func stalled(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			return v1alpha1.ReasonUnavailable
		}
	}
	return v1alpha1.ReasonProgressing
}

// progress repeats what Kubernetes says of pods that it cannot make.
func progress(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return ": " + c.Message
		}
	}
	return ""
}

// issuerReadiness tells of cert-manager's issuer.
func issuerReadiness(s *scope) outcome {
	switch {
	case s.issuer != nil:
	case s.failed([]string{v1alpha1.ConditionCertificateAuthorityReady}) != "":
		return waiting("the certificate authority")
	default:
		return waiting("a server that answers")
	}
	name := s.issuer.Name
	for _, c := range s.issuer.Status.Conditions {
		if c.Type != certmanagerv1.IssuerConditionReady || c.ObservedGeneration < s.issuer.Generation {
			continue
		}
		if c.Status == cmmeta.ConditionTrue {
			return outcome{metav1.ConditionTrue, v1alpha1.ReasonReady, "ClusterIssuer " + name + " is registered"}
		}
		return outcome{metav1.ConditionFalse, v1alpha1.ReasonNotRegistered, fmt.Sprintf("ClusterIssuer %s: %s", name, c.Message)}
	}
	return outcome{
		metav1.ConditionFalse, v1alpha1.ReasonProgressing,
		fmt.Sprintf("cert-manager has not looked at ClusterIssuer %s yet; if that lasts, see that its controller runs", name),
	}
}

// restriction tells whether clients prove that names are theirs.
func restriction(server *v1alpha1.AcmeServer) outcome {
	if server.Spec.Validation.Mode == v1alpha1.ValidationTrusted {
		return outcome{
			metav1.ConditionFalse, v1alpha1.ReasonTrusted,
			"spec.validation.mode is Trusted: " + trusted(server),
		}
	}
	return outcome{metav1.ConditionTrue, v1alpha1.ReasonChallenge, "control of every name is proved by a challenge"}
}

// trusted tells who gets certificates for which names of servers that ask for no proof.
func trusted(server *v1alpha1.AcmeServer) string {
	who, names, bound := "whoever can reach the servers", "any name", "bound who can with spec.networkPolicy.from or spec.externalAccounts.required"
	if e := server.Spec.ExternalAccounts; e != nil && e.Required {
		who, bound = "whoever has an external account", "bound which with spec.identifiers"
	}
	if i := server.Spec.Identifiers; i != nil && (i.DNS != nil || i.IP != nil) {
		names = "any name that spec.identifiers allows"
	}
	return who + " gets certificates for " + names + "; " + bound
}

// authorityStatus tells of the certificate that is signed with.
func authorityStatus(s *scope) *v1alpha1.CertificateAuthorityStatus {
	status := &v1alpha1.CertificateAuthorityStatus{
		Subject:     s.authority.certificate().Subject.String(),
		Fingerprint: s.authority.fingerprint(),
		NotAfter:    metav1.NewTime(s.authority.notAfter()),
	}
	switch {
	case s.certificate != nil:
		status.RenewAt = s.certificate.Status.RenewalTime
	case s.renewable():
		at := metav1.NewTime(renewAt(s.authority.certificate()))
		status.RenewAt = &at
	}
	return status
}

// maxMessage is the length of a condition's message that the API server takes, in bytes.
const maxMessage = 32768

// bounded cuts a message that the API server would refuse.
func bounded(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-3], "") + "…"
}

// observe reads what the status tells of even where no phase gets as far.
func (r *AcmeServerReconciler) observe(ctx context.Context, s *scope) error {
	deployment := &appsv1.Deployment{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.server.Namespace, Name: render.ServerName(s.server)}, deployment)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading Deployment %s: %w", render.ServerName(s.server), err)
	}
	if err == nil && belongs(deployment, s.server) {
		s.deployment = deployment
	}
	return nil
}

// report writes the status, once, if it has changed, and an event for each
// condition that did.
func (r *AcmeServerReconciler) report(ctx context.Context, s *scope) error {
	status := statusOf(s)
	if equality.Semantic.DeepEqual(s.server.Status, status) {
		return nil
	}
	// The cache may not have what was written last, and would have the same events
	// told twice.
	live := &v1alpha1.AcmeServer{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.server), live); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("reading the status: %w", err))
	}
	before := live.Status
	s.server.Status = before
	if status = statusOf(s); equality.Semantic.DeepEqual(before, status) {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(withoutOthers(&status))
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	if err := r.applyStatus(ctx, s.server, render.Operator, content); err != nil {
		return err
	}
	for _, c := range status.Conditions {
		old := meta.FindStatusCondition(before.Conditions, c.Type)
		if old != nil && old.Status == c.Status && old.Reason == c.Reason {
			continue
		}
		r.Recorder.Eventf(s.server, nil, eventType(c), c.Reason, c.Type, "%s is %s: %s", c.Type, c.Status, brief(c.Message))
	}
	return nil
}

// applyStatus applies those fields of an AcmeServer's status that are an owner's. It
// takes back those which it had applied before and which are not among them.
func (r *AcmeServerReconciler) applyStatus(ctx context.Context, server *v1alpha1.AcmeServer, owner string, fields map[string]any) error {
	applied := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	applied.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AcmeServer"))
	applied.SetName(server.Name)
	applied.SetNamespace(server.Namespace)
	err := r.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(owner), client.ForceOwnership)
	if err != nil {
		return client.IgnoreNotFound(fmt.Errorf("writing the status: %w", err))
	}
	return nil
}

// withoutOthers returns what this controller applies of a status: what it has only
// read of garbage and of limits would else become its own, and stay as it was.
func withoutOthers(status *v1alpha1.AcmeServerStatus) *v1alpha1.AcmeServerStatus {
	ours := status.DeepCopy()
	ours.GarbageCollection = nil
	meta.RemoveStatusCondition(&ours.Conditions, v1alpha1.ConditionGarbageCollected)
	ours.RateLimits = nil
	meta.RemoveStatusCondition(&ours.Conditions, v1alpha1.ConditionRateLimitPolicyEnforced)
	return ours
}

// maxNote is the length of an event's note that the API server takes, in bytes.
const maxNote = 1024

// brief cuts a message to what an event takes.
func brief(message string) string {
	const room = maxNote - 100 // for what stands before it
	if len(message) <= room {
		return message
	}
	return strings.ToValidUTF8(message[:room-3], "") + "…"
}
