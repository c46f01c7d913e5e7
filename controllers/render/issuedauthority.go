package render

import (
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagerv1ac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"
	cmmetav1ac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// CertificateGVK is the kind of cert-manager's Certificate.
var CertificateGVK = certmanagerv1.SchemeGroupVersion.WithKind(certmanagerv1.CertificateKind)

// IssuedAuthority returns the Certificate by which cert-manager issues the authority of
// an AcmeServer that says so. The key stays when it is renewed, as that of an authority
// which the operator made.
func IssuedAuthority(s *v1alpha1.AcmeServer) *certmanagerv1ac.CertificateApplyConfiguration {
	ca := s.Spec.CA.CertManager
	commonName := ca.CommonName
	if commonName == "" {
		commonName = s.Name + " Intermediate CA"
	}
	algorithm, size := certManagerKey(ca.KeyAlgorithm)
	spec := certmanagerv1ac.CertificateSpec().
		WithIsCA(true).WithCommonName(commonName).
		WithUsages(certmanagerv1.UsageCertSign, certmanagerv1.UsageCRLSign).
		WithIssuerRef(cmmetav1ac.IssuerReference().
			WithName(ca.IssuerRef.Name).WithKind(ca.IssuerRef.Kind).WithGroup(ca.IssuerRef.Group)).
		WithPrivateKey(certmanagerv1ac.CertificatePrivateKey().
			WithAlgorithm(algorithm).WithSize(size).
			WithEncoding(certmanagerv1.PKCS8).WithRotationPolicy(certmanagerv1.RotationPolicyNever)).
		WithSecretName(IssuedAuthorityName(s)).
		WithSecretTemplate(certmanagerv1ac.CertificateSecretTemplate().WithLabels(authority.labels(s)))
	if ca.Lifetime != nil {
		spec.WithDuration(*ca.Lifetime)
	}
	return certmanagerv1ac.Certificate(IssuedAuthorityName(s), s.Namespace).
		WithLabels(authority.labels(s)).WithOwnerReferences(owner(s)).WithSpec(spec)
}

// certManagerKey returns an algorithm as cert-manager has it.
func certManagerKey(a v1alpha1.KeyAlgorithm) (certmanagerv1.PrivateKeyAlgorithm, int) {
	switch a {
	case v1alpha1.ECDSAP384:
		return certmanagerv1.ECDSAKeyAlgorithm, 384
	case v1alpha1.RSA3072:
		return certmanagerv1.RSAKeyAlgorithm, 3072
	case v1alpha1.RSA4096:
		return certmanagerv1.RSAKeyAlgorithm, 4096
	default:
		return certmanagerv1.ECDSAKeyAlgorithm, 256
	}
}
