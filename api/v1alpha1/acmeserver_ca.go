package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CertificateAuthoritySpec is what certificates are signed with: an authority
// that the operator makes, or one that the user brings.
//
// +kubebuilder:validation:XValidation:rule="[has(self.selfSigned), has(self.secretRef), has(self.certManager)].filter(x, x).size() <= 1",message="set one of ca.selfSigned (an authority that the operator makes), ca.secretRef (one of yours) and ca.certManager (one that cert-manager issues)"
type CertificateAuthoritySpec struct {
	// selfSigned configures the authority that the operator makes where there is
	// neither secretRef nor certManager: a root, whose key stays in a Secret that no pod mounts, and an
	// intermediate, which the servers sign with and the operator renews.
	// +optional
	SelfSigned *SelfSignedAuthority `json:"selfSigned,omitempty"`
	// secretRef names a Secret of the type kubernetes.io/tls with an issuing
	// certificate and those between it and the root (tls.crt), its key (tls.key),
	// and the roots that clients trust (ca.crt).
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
	// certManager has an issuer of cert-manager issue the certificate that the servers
	// sign with, so that they are below an authority that the cluster has.
	// +optional
	CertManager *CertManagerAuthority `json:"certManager,omitempty"`
	// alternateChainsRef names the Secret with other chains, which clients may choose
	// (RFC 8555 §7.4.2, cert-manager's preferredChain), as where a root is replaced. Each
	// begins with a certificate of the issuing one's key and subject.
	// +optional
	AlternateChainsRef *AlternateChainsReference `json:"alternateChainsRef,omitempty"`
	// lint says whether certificates are held against the rules of RFC 5280 before
	// they leave, and what becomes of one that breaks any. Warn looks at the first of
	// each kind and logs it; Enforce looks at each and refuses it, which takes a fifth
	// of a millisecond of a processor. Default: Warn.
	// +optional
	Lint Lint `json:"lint,omitempty"`
}

// AlternateChainsReference names a key of a Secret of the AcmeServer's namespace.
type AlternateChainsReference struct {
	SecretReference `json:",inline"`
	// key that holds the chains, in PEM, one behind another.
	// +optional
	// +kubebuilder:default=chains.pem
	// +kubebuilder:validation:MinLength=1
	Key string `json:"key,omitempty"`
}

// SelfSignedAuthority configures the authority that the operator makes.
//
// +kubebuilder:validation:XValidation:rule="duration(self.rootLifetime) > duration(self.intermediateLifetime)",message="ca.selfSigned.rootLifetime must be longer than intermediateLifetime: the root outlives what it signs"
// +kubebuilder:validation:XValidation:rule="has(self.commonName) == has(oldSelf.commonName) && has(self.organization) == has(oldSelf.organization)",message="the root is made once: commonName and organization cannot be added or removed; make a new AcmeServer"
type SelfSignedAuthority struct {
	// commonName of the authority; the certificates are named by it, "Root CA" and
	// "Intermediate CA". Default: the AcmeServer's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=48
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the root is made once, and its name stays; make a new AcmeServer"
	CommonName string `json:"commonName,omitempty"`
	// organization of both certificates.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the root is made once, and its name stays; make a new AcmeServer"
	Organization string `json:"organization,omitempty"`
	// keyAlgorithm of both keys.
	// +optional
	// +kubebuilder:default=ECDSA-P256
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the keys are made once; make a new AcmeServer"
	KeyAlgorithm KeyAlgorithm `json:"keyAlgorithm,omitempty"`
	// rootLifetime is how long the root is valid; the operator does not renew it.
	// +optional
	// +kubebuilder:default="87600h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the root is made once; make a new AcmeServer"
	RootLifetime *metav1.Duration `json:"rootLifetime,omitempty"`
	// intermediateLifetime is how long an intermediate is valid, which is renewed,
	// with its key, after two thirds of it. A change is seen at the next renewal.
	// +optional
	// +kubebuilder:default="8760h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('24h')",message="write at least 24h: no certificate outlives the intermediate that signed it"
	IntermediateLifetime *metav1.Duration `json:"intermediateLifetime,omitempty"`
}

// CertManagerAuthority configures the authority that cert-manager issues, by a
// Certificate that the operator makes in the AcmeServer's namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.commonName) == has(oldSelf.commonName)",message="the authority is known by its name and its key: commonName cannot be added or removed; make a new AcmeServer"
type CertManagerAuthority struct {
	// issuerRef names the issuer. It must sign certificates of authorities, and say by
	// which root: that is what clients are made to trust.
	IssuerRef IssuerReference `json:"issuerRef"`
	// commonName of the certificate. Default: the AcmeServer's name and "Intermediate CA".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the authority is known by its name and its key: it stays; make a new AcmeServer"
	CommonName string `json:"commonName,omitempty"`
	// keyAlgorithm of the key, which stays when the certificate is renewed, so that one
	// CRL goes on covering all that it signed.
	// +optional
	// +kubebuilder:default=ECDSA-P256
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the key is made once; make a new AcmeServer"
	KeyAlgorithm KeyAlgorithm `json:"keyAlgorithm,omitempty"`
	// lifetime that is asked for; the issuer may give less. It is renewed after two
	// thirds of it.
	// +optional
	// +kubebuilder:default="8760h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('24h')",message="write at least 24h: no certificate outlives the intermediate that signed it"
	Lifetime *metav1.Duration `json:"lifetime,omitempty"`
}

// IssuerReference names an issuer of cert-manager, or one that is used with it.
type IssuerReference struct {
	// name of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// kind of the issuer: an Issuer is of the AcmeServer's namespace.
	// +optional
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// group of the kind.
	// +optional
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// KeyAlgorithm is an algorithm and a size of keys.
//
// +kubebuilder:validation:Enum=ECDSA-P256;ECDSA-P384;RSA-3072;RSA-4096
type KeyAlgorithm string

// The key algorithms.
const (
	ECDSAP256 KeyAlgorithm = "ECDSA-P256"
	ECDSAP384 KeyAlgorithm = "ECDSA-P384"
	RSA3072   KeyAlgorithm = "RSA-3072"
	RSA4096   KeyAlgorithm = "RSA-4096"
)
