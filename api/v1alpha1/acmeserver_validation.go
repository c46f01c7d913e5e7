package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ValidationMode says whether clients prove control of the names they ask for.
//
// +kubebuilder:validation:Enum=Challenge;Trusted
type ValidationMode string

// The validation modes.
const (
	ValidationChallenge ValidationMode = "Challenge"
	ValidationTrusted   ValidationMode = "Trusted"
)

// ChallengeType is a validation method of RFC 8555 §9.7.8, or of the drafts
// acme-dns-account-label and acme-dns-persist.
//
// +kubebuilder:validation:Enum=http-01;dns-01;tls-alpn-01;dns-account-01;dns-persist-01
type ChallengeType string

// ValidationSpec tells how clients prove control of the names they ask for.
type ValidationSpec struct {
	// mode is Challenge (every name is proved by a challenge) or Trusted (whoever
	// can reach the servers gets certificates for any name).
	// +optional
	// +kubebuilder:default=Challenge
	Mode ValidationMode `json:"mode,omitempty"`
	// challenges that are offered; default: http-01, dns-01 and tls-alpn-01. The
	// others are of drafts, which may still change; dns-persist-01 needs
	// directory.caaIdentities.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	Challenges []ChallengeType `json:"challenges,omitempty"`
	// dns tells whom validators ask.
	// +optional
	DNS *DNSSpec `json:"dns,omitempty"`
	// networks bounds what validators dial.
	// +optional
	Networks *NetworksSpec `json:"networks,omitempty"`
}

// DNSSpec tells whom validators ask.
type DNSSpec struct {
	// resolvers are DNS servers (host or host:port); default: those of the pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=261
	// +kubebuilder:validation:XValidation:rule="self.all(r, r.matches('^([0-9a-z.-]+(:[0-9]{1,5})?|[0-9a-f:]+|[[][0-9a-f:]+[]](:[0-9]{1,5})?)$'))",message="write DNS servers as host or host:port, such as 10.96.0.10 or [fd00::10]:53"
	Resolvers []string `json:"resolvers,omitempty"`
}

// CIDR is a network in CIDR notation.
//
// +kubebuilder:validation:MaxLength=43
// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="write a network with no bits behind its prefix, such as 10.0.0.0/8, or 192.0.2.7/32 for one address"
type CIDR string

// NetworksSpec bounds what validators dial. The longest prefix that holds an
// address decides; deny wins over allow of the same length. Loopback, link-local
// and multicast addresses and the Kubernetes API are denied unless named.
type NetworksSpec struct {
	// allow lists networks that validators may dial.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Allow []CIDR `json:"allow,omitempty"`
	// deny lists networks that validators must not dial.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Deny []CIDR `json:"deny,omitempty"`
}

// ExtendedKeyUsage is an extended key usage (RFC 5280 §4.2.1.12).
//
// +kubebuilder:validation:Enum=serverAuth;clientAuth
type ExtendedKeyUsage string

// Profile is a kind of certificate (draft-ietf-acme-profiles).
type Profile struct {
	// name that clients ask for.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$')",message="write up to 63 of a-z, 0-9, ., _ and -, such as tlsserver"
	Name string `json:"name"`
	// description that the directory shows; default: whom the profile is for, and how
	// long, such as "TLS servers, for 6 days".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Description string `json:"description,omitempty"`
	// default says that orders which ask for no profile have this one.
	// +optional
	Default bool `json:"default,omitempty"`
	// lifetime is the longest validity, and that of orders which ask for none.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('15m') && duration(self) <= duration('87840h')",message="write a lifetime from 15m to 87840h (ten years), such as 2160h"
	Lifetime metav1.Duration `json:"lifetime"`
	// usages are the extended key usages; default: serverAuth.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	Usages []ExtendedKeyUsage `json:"usages,omitempty"`
	// commonName puts the first DNS name of at most 64 octets in the subject, for
	// software that does not read subject alternative names; default: no subject.
	// +optional
	CommonName bool `json:"commonName,omitempty"`
	// keyEncipherment adds that key usage where the key is RSA, for TLS 1.2 without
	// forward secrecy.
	// +optional
	KeyEncipherment bool `json:"keyEncipherment,omitempty"`
}
