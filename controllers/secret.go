package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// Secrets are read from the API server, never from a cache: a Secret that the
// cache has not seen yet must not be taken for one that has to be made. What is
// generated is written by create, which one of two writers loses, and never by
// apply, which would overwrite.

// secret returns a Secret of s's namespace, or nil.
func (r *AcmeServerReconciler) secret(ctx context.Context, s *v1alpha1.AcmeServer, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", name, err)
	}
	return secret, nil
}

// ownSecret returns a Secret that the operator made for s, or for an AcmeServer
// of its name that was deleted and kept it; or nil.
func (r *AcmeServerReconciler) ownSecret(ctx context.Context, s *v1alpha1.AcmeServer, name string) (*corev1.Secret, error) {
	secret, err := r.secret(ctx, s, name)
	if err != nil || secret == nil {
		return nil, err
	}
	if owner := metav1.GetControllerOf(secret); owner != nil && owner.Kind == "AcmeServer" && owner.UID != s.UID || !secret.DeletionTimestamp.IsZero() {
		// It goes with one that was deleted just now: half of what that had might be gone already.
		return nil, apierrors.NewConflict(corev1.Resource("secrets"), name, errors.New("it is of an AcmeServer that was deleted, and is deleted in a moment"))
	}
	if !render.IsOwnSecret(s, secret) {
		return nil, blockedf(v1alpha1.ReasonNameTaken,
			"Secret %s exists and was not made for this AcmeServer: rename it, or, to let the operator use it, give it the labels %s", name, render.OwnSecretLabels(s))
	}
	return secret, nil
}

// createSecret makes a Secret. Where another has been faster, the error is a
// conflict: the next reconcile reads theirs.
func (r *AcmeServerReconciler) createSecret(ctx context.Context, secret *corev1.Secret) (*corev1.Secret, error) {
	err := r.Client.Create(ctx, secret, client.FieldOwner(render.Operator))
	if apierrors.IsAlreadyExists(err) {
		return nil, apierrors.NewConflict(corev1.Resource("secrets"), secret.Name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("making Secret %s: %w", secret.Name, err)
	}
	return secret, nil
}

// updateSecret writes the data of a Secret that was read before, if nobody else
// has written it since.
func (r *AcmeServerReconciler) updateSecret(ctx context.Context, read *corev1.Secret, data map[string][]byte) (*corev1.Secret, error) {
	secret := read.DeepCopy()
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	maps.Copy(secret.Data, data)
	if err := r.Client.Update(ctx, secret, client.FieldOwner(render.Operator)); err != nil {
		return nil, fmt.Errorf("writing Secret %s: %w", secret.Name, err)
	}
	return secret, nil
}

// keepSecret lets a Secret with a key of the authority go with s, or stay, as
// its deletion policy says.
func (r *AcmeServerReconciler) keepSecret(ctx context.Context, s *v1alpha1.AcmeServer, secret *corev1.Secret) error {
	var wanted []metav1.OwnerReference
	if !render.Kept(s) {
		wanted = []metav1.OwnerReference{render.OwnerReference(s)}
	}
	owned := metav1.IsControlledBy(secret, s)
	if owned == (len(wanted) > 0) && len(secret.OwnerReferences) == len(wanted) {
		return nil
	}
	patch := client.MergeFromWithOptions(secret.DeepCopy(), client.MergeFromWithOptimisticLock{})
	secret.OwnerReferences = wanted
	if err := r.Client.Patch(ctx, secret, patch, client.FieldOwner(render.Operator)); err != nil {
		return fmt.Errorf("writing the owner of Secret %s: %w", secret.Name, err)
	}
	return nil
}
