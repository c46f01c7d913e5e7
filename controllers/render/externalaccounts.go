package render

import (
	"crypto/rand"
	"encoding/base64"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// ClusterIssuerKeyID is the key identifier of the external account that the
// ClusterIssuer is bound to. Nobody else can have it.
const ClusterIssuerKeyID = "clusterissuer"

// bindingKey is the key of the Secret that cert-manager reads the MAC key from.
const bindingKey = "key"

// BindsClusterIssuer reports whether the ClusterIssuer needs an external account.
func BindsClusterIssuer(s *v1alpha1.AcmeServer) bool {
	return s.Spec.ExternalAccounts != nil && s.Spec.ExternalAccounts.Required && ClusterIssuerEnabled(s)
}

// ExternalAccountSecretName is the name of the Secret with the MAC key of the
// ClusterIssuer's external account, which the servers read.
func ExternalAccountSecretName(s *v1alpha1.AcmeServer) string { return s.Name + "-external-account" }

// BindingSecretName is the name of the Secret with the same key that cert-manager
// reads, in its own namespace.
func BindingSecretName(s *v1alpha1.AcmeServer) string {
	return ClusterIssuerName(s) + "-external-account"
}

// ExternalAccountSecret returns the Secret with a new MAC key for the ClusterIssuer.
func ExternalAccountSecret(s *v1alpha1.AcmeServer) *corev1.Secret {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	secret := secret(s, server, ExternalAccountSecretName(s))
	secret.Data = map[string][]byte{ClusterIssuerKeyID: []byte(base64.RawURLEncoding.EncodeToString(key))}
	return owned(s, secret)
}

// BindingSecret returns the Secret with the ClusterIssuer's MAC key for
// cert-manager. It goes with the ClusterIssuer, once [BindingOwner] is on it.
func BindingSecret(s *v1alpha1.AcmeServer, p Platform, key []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: BindingSecretName(s), Namespace: p.CertManagerNamespace, Labels: ClusterIssuerLabels(s),
		},
		Data: map[string][]byte{bindingKey: key},
	}
}

// externalAccounts returns the volume with a file for each external account, or
// nil where there is none.
func externalAccounts(s *v1alpha1.AcmeServer) *corev1ac.VolumeApplyConfiguration {
	sources := corev1ac.ProjectedVolumeSource().WithDefaultMode(0o440)
	if e := s.Spec.ExternalAccounts; e != nil && e.SecretRef != nil {
		sources.WithSources(corev1ac.VolumeProjection().WithSecret(corev1ac.SecretProjection().WithName(e.SecretRef.Name)))
	}
	if BindsClusterIssuer(s) {
		sources.WithSources(corev1ac.VolumeProjection().WithSecret(corev1ac.SecretProjection().
			WithName(ExternalAccountSecretName(s)).WithItems(keyToPath(ClusterIssuerKeyID))))
	}
	if len(sources.Sources) == 0 {
		return nil
	}
	return corev1ac.Volume().WithName("external-accounts").WithProjected(sources)
}
