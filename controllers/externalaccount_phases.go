package controllers

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// minExternalKey is the length of a MAC key that the servers take, in octets.
const minExternalKey = 16

// externalAccounts finds the keys of external accounts, and makes that of the
// ClusterIssuer. It returns the Secrets that the servers' pods mount of them.
func (r *AcmeServerReconciler) externalAccounts(ctx context.Context, s *scope) ([]*corev1.Secret, error) {
	var secrets []*corev1.Secret
	if e := s.server.Spec.ExternalAccounts; e != nil && e.SecretRef != nil {
		secret, err := r.secret(ctx, s.server, e.SecretRef.Name)
		if err != nil {
			return nil, err
		}
		if secret == nil {
			return nil, blockedf(v1alpha1.ReasonSecretMissing,
				"the Secret %s of spec.externalAccounts.secretRef does not exist: make it, with a MAC key in base64url for each key identifier", e.SecretRef.Name)
		}
		if err := checkExternalAccounts(secret); err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	if !render.BindsClusterIssuer(s.server) {
		return secrets, nil
	}
	secret, err := r.ownSecret(ctx, s.server, render.ExternalAccountSecretName(s.server))
	if err == nil && secret == nil {
		secret, err = r.createSecret(ctx, render.ExternalAccountSecret(s.server))
	}
	if err != nil {
		return nil, err
	}
	s.binding = secret.Data[render.ClusterIssuerKeyID]
	if !isExternalKey(s.binding) {
		return nil, blockedf(v1alpha1.ReasonSecretInvalid,
			"the Secret %s has no MAC key %s: delete it, and the operator makes another", secret.Name, render.ClusterIssuerKeyID)
	}
	return append(secrets, secret), nil
}

// checkExternalAccounts says what is wrong with the keys that a user brings, and
// nothing of a key.
func checkExternalAccounts(secret *corev1.Secret) error {
	for _, kid := range slices.Sorted(maps.Keys(secret.Data)) {
		switch {
		case kid == render.ClusterIssuerKeyID:
			return blockedf(v1alpha1.ReasonSecretInvalid,
				"the Secret %s has the key identifier %s, which is the ClusterIssuer's: use another", secret.Name, kid)
		case strings.HasPrefix(kid, "."):
			return blockedf(v1alpha1.ReasonSecretInvalid, "the Secret %s has the key identifier %s, which begins with a dot: use another", secret.Name, kid)
		case !isExternalKey(secret.Data[kid]):
			return blockedf(v1alpha1.ReasonSecretInvalid,
				"the Secret %s has a key %s that is not at least %d octets in base64url: correct it", secret.Name, kid, minExternalKey)
		}
	}
	return nil
}

// isExternalKey reports whether the servers take a text for a MAC key.
func isExternalKey(text []byte) bool {
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(string(text)), "="))
	return err == nil && len(key) >= minExternalKey
}

// ensureBinding puts the MAC key of the ClusterIssuer where cert-manager reads it.
// Another key waits until every server knows it: cert-manager gives up on a
// registration that is refused.
func (r *AcmeServerReconciler) ensureBinding(ctx context.Context, s *scope) error {
	want := render.BindingSecret(s.server, r.Platform, s.binding)
	found := &corev1.Secret{}
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(want), found)
	switch {
	case apierrors.IsNotFound(err):
		if _, err := r.createSecret(ctx, want); apierrors.IsNotFound(err) {
			return retryf(v1alpha1.ReasonCertManagerMissing,
				"the namespace %s does not exist: start the operator with --cert-manager-namespace, the one that cert-manager has the Secrets of ClusterIssuers in", want.Namespace)
		} else if err != nil {
			return err
		}
		return nil
	case err != nil:
		return fmt.Errorf("reading Secret %s in %s: %w", want.Name, want.Namespace, err)
	}
	for label, value := range want.Labels {
		if found.Labels[label] != value {
			return blockedf(v1alpha1.ReasonNameTaken, "Secret %s in %s exists and was not made for this AcmeServer: delete or rename it", want.Name, want.Namespace)
		}
	}
	changed := slices.ContainsFunc(slices.Collect(maps.Keys(want.Data)), func(key string) bool { return !bytes.Equal(found.Data[key], want.Data[key]) })
	switch {
	case !changed:
		return nil
	case !rolledOut(s.deployment):
		return blockedf(v1alpha1.ReasonProgressing, "cert-manager is given another key of its external account when every server knows it")
	}
	_, err = r.updateSecret(ctx, found, want.Data)
	return err
}

// ownBinding lets the Secret with the ClusterIssuer's MAC key go with it.
func (r *AcmeServerReconciler) ownBinding(ctx context.Context, s *scope, issuer *certmanagerv1.ClusterIssuer) error {
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: r.Platform.CertManagerNamespace, Name: render.BindingSecretName(s.server)}
	if err := r.Live.Get(ctx, key, secret); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("reading Secret %s in %s: %w", key.Name, key.Namespace, err))
	}
	owner := render.BindingOwner(issuer)
	if len(secret.OwnerReferences) == 1 && secret.OwnerReferences[0].UID == owner.UID {
		return nil
	}
	patch := client.MergeFromWithOptions(secret.DeepCopy(), client.MergeFromWithOptimisticLock{})
	secret.OwnerReferences = []metav1.OwnerReference{owner}
	if err := r.Client.Patch(ctx, secret, patch, client.FieldOwner(render.Operator)); err != nil {
		return fmt.Errorf("writing the owner of Secret %s in %s: %w", key.Name, key.Namespace, err)
	}
	return nil
}
