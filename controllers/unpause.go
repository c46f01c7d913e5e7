package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// unpauseSubjects returns the subjects of a policy's annotation, each once, as many as
// a status has room for.
func unpauseSubjects(policy *v1alpha1.AcmeRateLimitPolicy) []string {
	subjects, _ := unpauseEntries(policy)
	return subjects
}

// unpauseEntries returns the subjects of a policy's annotation, and what of it is left
// out, and why.
func unpauseEntries(policy *v1alpha1.AcmeRateLimitPolicy) (subjects []string, leftOut string) {
	if policy == nil {
		return nil, ""
	}
	var long, many int
	for _, subject := range strings.FieldsFunc(policy.Annotations[v1alpha1.AnnotationUnpause], func(c rune) bool {
		return c == ',' || c == ' ' || c == '\n' || c == '\t'
	}) {
		switch {
		case slices.Contains(subjects, subject):
		case len(subject) > maxSubject:
			long++
		case len(subjects) == maxUnpaused:
			many++
		default:
			subjects = append(subjects, subject)
		}
	}
	var why []string
	if long > 0 {
		why = append(why, fmt.Sprintf("%d entries are longer than %d bytes, which none is that was ever paused", long, maxSubject))
	}
	if many > 0 {
		why = append(why, fmt.Sprintf("%d entries are more than the %d that it may have: take out those that were done", many, maxUnpaused))
	}
	return subjects, strings.Join(why, "; ")
}

// toUnpause returns what the annotation asks for and the status does not say was
// done. A crash before the status is written has it done twice, which is as good.
func toUnpause(l *limitScope) []string {
	return slices.DeleteFunc(unpauseSubjects(l.policy), func(subject string) bool {
		return l.server.Status.RateLimits != nil && slices.Contains(l.server.Status.RateLimits.Unpaused, subject)
	})
}

// tellUnpaused makes events of what was done of the annotation. Of several AcmeServers
// with one policy most have nothing to unpause, which is as it should be.
func (r *RateLimitReconciler) tellUnpaused(ctx context.Context, l *limitScope) {
	if len(l.unpaused) > 0 {
		r.tellUnpause(l, corev1.EventTypeNormal, v1alpha1.ReasonUnpaused, "orders are taken again for "+strings.Join(l.unpaused, ", "))
	}
	if len(l.notPaused) > 0 {
		kind, what := corev1.EventTypeWarning, "nothing has failed here, so that there was nothing to unpause, for "
		if others := len(r.serversOfPolicy(ctx, l.policy)) - 1; others > 0 {
			kind = corev1.EventTypeNormal
			what = fmt.Sprintf("nothing has failed here, but perhaps at one of the %d others with this policy, for ", others)
		}
		r.tellUnpause(l, kind, v1alpha1.ReasonNotPaused, what+strings.Join(l.notPaused, ", "))
	}
}

// tellLeftOut makes an event of what of the annotation is left out, once for each value
// that it has.
func (r *RateLimitReconciler) tellLeftOut(l *limitScope) {
	_, why := unpauseEntries(l.policy)
	key, told := client.ObjectKeyFromObject(l.server), ""
	if why != "" {
		told = l.policy.Annotations[v1alpha1.AnnotationUnpause]
	}
	r.mu.Lock()
	news := r.leftOut[key] != told
	if told == "" {
		delete(r.leftOut, key)
	} else {
		r.leftOut[key] = told
	}
	r.mu.Unlock()
	if news && why != "" {
		r.tellUnpause(l, corev1.EventTypeWarning, v1alpha1.ReasonLeftOut,
			fmt.Sprintf("of the annotation %s of AcmeRateLimitPolicy %s, %s", v1alpha1.AnnotationUnpause, l.policy.Name, why))
	}
}

// tellUnpause makes an event of the annotation.
func (r *RateLimitReconciler) tellUnpause(l *limitScope, kind, reason, note string) {
	r.Servers.Recorder.Eventf(l.server, l.policy, kind, reason, "Unpause", "%s", brief(note))
}
