package controllers

import (
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// scope is one reconcile of one AcmeServer: what was read, and what came of each
// phase. Phases write to it in turn; the status is a function of it.
type scope struct {
	server *v1alpha1.AcmeServer
	now    time.Time
	// database is how the database is reached; nil until that is known.
	database *Database
	// databaseFiles is what the servers' pods mount of it.
	databaseFiles *corev1.Secret
	// authority is what is signed with; nil until there is one.
	authority *authority
	// alternates has the chains that clients may choose, in PEM; nil where there are none.
	alternates []byte
	// root is whether the key that renews it is there.
	root bool
	// binding is the MAC key of the ClusterIssuer's external account, in base64url;
	// nil where it has none.
	binding []byte
	// deployment, issuer, and the certificate by which cert-manager issues the authority
	// are what is in the cluster; nil where nothing is.
	deployment  *appsv1.Deployment
	issuer      *certmanagerv1.ClusterIssuer
	certificate *certmanagerv1.Certificate
	// unasked is why cert-manager could not be asked for the authority as the spec has it.
	unasked error
	// outcomes has what came of a phase, by its condition. A condition that is not
	// here is told by what is in the cluster.
	outcomes map[string]outcome
	// wakeAt is when time alone makes another reconcile necessary; zero for never.
	wakeAt time.Time
}

// outcome is what a condition will say.
type outcome struct {
	status          metav1.ConditionStatus
	reason, message string
}

// succeed records that a condition is True.
func (s *scope) succeed(condition, reason, format string, args ...any) {
	s.outcomes[condition] = outcome{metav1.ConditionTrue, reason, fmt.Sprintf(format, args...)}
}

// failed returns the first of the conditions that a phase has found not to be
// True, or "".
func (s *scope) failed(conditions []string) string {
	for _, c := range conditions {
		if o, ok := s.outcomes[c]; ok && o.status != metav1.ConditionTrue {
			return c
		}
	}
	return ""
}

// wake asks for another reconcile at t, if none is asked for earlier.
func (s *scope) wake(t time.Time) {
	if s.wakeAt.IsZero() || t.Before(s.wakeAt) {
		s.wakeAt = t
	}
}

// phaseError ends a phase with what its condition shall say.
type phaseError struct {
	reason, message string
	// blocked says that only a change in the cluster helps. It is watched for, so
	// that there is no back-off; else the phase is tried again.
	blocked bool
}

// Error returns the message.
func (e *phaseError) Error() string { return e.message }

// blockedf ends a phase that a missing prerequisite forbids. The message says
// what to do.
func blockedf(reason, format string, args ...any) error {
	return &phaseError{reason: reason, message: fmt.Sprintf(format, args...), blocked: true}
}

// retryf ends a phase that is tried again, with more and more time between.
func retryf(reason, format string, args ...any) error {
	return &phaseError{reason: reason, message: fmt.Sprintf(format, args...)}
}

// outcomeOf returns what the condition of a phase says that ended with err.
func outcomeOf(err error) outcome {
	var p *phaseError
	switch {
	case errors.As(err, &p):
		return outcome{metav1.ConditionFalse, p.reason, p.message}
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		return outcome{metav1.ConditionFalse, v1alpha1.ReasonRejected, "the API server refused an object: " + err.Error()}
	default:
		return outcome{metav1.ConditionFalse, v1alpha1.ReasonError, err.Error()}
	}
}

// isBlocked reports whether only a change in the cluster helps.
func isBlocked(err error) bool {
	var p *phaseError
	return errors.As(err, &p) && p.blocked
}
