package render

import (
	"encoding/json"
	"fmt"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	acmev1ac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/acme/v1"
	certmanagerv1ac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"
	cmmetav1ac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// ClusterIssuerGVK is the kind of cert-manager's ClusterIssuer.
var ClusterIssuerGVK = certmanagerv1.SchemeGroupVersion.WithKind(certmanagerv1.ClusterIssuerKind)

// ClusterIssuerEnabled reports whether a ClusterIssuer is asked for.
func ClusterIssuerEnabled(s *v1alpha1.AcmeServer) bool {
	return s.Spec.ClusterIssuer.Enabled == nil || *s.Spec.ClusterIssuer.Enabled
}

// ClusterIssuerLabels returns the labels by which a ClusterIssuer is s's.
func ClusterIssuerLabels(s *v1alpha1.AcmeServer) map[string]string {
	return map[string]string{
		LabelManagedBy: Operator, LabelServerNamespace: s.Namespace, LabelServerName: s.Name,
	}
}

// ClusterIssuer returns cert-manager's issuer for the servers, which trusts the
// roots. It has no owner: an object of the cluster cannot have one in a namespace.
func ClusterIssuer(s *v1alpha1.AcmeServer, roots []byte) (*unstructured.Unstructured, error) {
	spec := s.Spec.ClusterIssuer
	name := ClusterIssuerName(s)
	acme := acmev1ac.ACMEIssuer().
		WithServer(DirectoryURL(s)).
		WithCABundle(roots...).
		// A Certificate's duration is asked for; the servers clamp it to the profile's.
		WithEnableDurationFeature(true).
		WithPrivateKey(cmmetav1ac.SecretKeySelector().WithName(name + "-account"))
	if spec.Email != "" {
		acme.WithEmail(spec.Email)
	}
	if spec.Profile != "" {
		acme.WithProfile(spec.Profile)
	}
	if BindsClusterIssuer(s) {
		acme.WithExternalAccountBinding(acmev1ac.ACMEExternalAccountBinding().
			WithKeyID(ClusterIssuerKeyID).
			WithKey(cmmetav1ac.SecretKeySelector().WithName(BindingSecretName(s)).WithKey(bindingKey)))
	}
	issuer := certmanagerv1ac.ClusterIssuer(name).
		WithLabels(ClusterIssuerLabels(s)).
		WithSpec(certmanagerv1ac.IssuerSpec().WithACME(acme))
	return withSolvers(issuer, spec.Solvers)
}

// BindingOwner returns the reference of a Secret that goes with a ClusterIssuer. An
// object of the cluster can own one in a namespace.
func BindingOwner(issuer *certmanagerv1.ClusterIssuer) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: ClusterIssuerGVK.GroupVersion().String(), Kind: ClusterIssuerGVK.Kind, Name: issuer.Name, UID: issuer.UID,
	}
}

// withSolvers adds the solvers as they were written.
func withSolvers(issuer *certmanagerv1ac.ClusterIssuerApplyConfiguration, solvers []v1alpha1.Solver) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(issuer)
	if err != nil {
		return nil, fmt.Errorf("writing the ClusterIssuer: %w", err)
	}
	// The empty ingress asks for Ingresses of no class, which are those of the
	// cluster's default class.
	list := []any{map[string]any{"http01": map[string]any{"ingress": map[string]any{}}}}
	if len(solvers) > 0 {
		list = nil
	}
	for i, s := range solvers {
		var solver map[string]any
		if err := json.Unmarshal(s.Raw, &solver); err != nil {
			return nil, fmt.Errorf("spec.clusterIssuer.solvers[%d]: %w", i, err)
		}
		list = append(list, solver)
	}
	if err := unstructured.SetNestedSlice(content, list, "spec", "acme", "solvers"); err != nil {
		return nil, fmt.Errorf("the ClusterIssuer's solvers: %w", err)
	}
	return &unstructured.Unstructured{Object: content}, nil
}
