package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IdentifiersSpec says what may be ordered. What is denied is denied whatever is
// allowed; where anything is allowed, names or addresses, all else is denied.
type IdentifiersSpec struct {
	// dns lists the names that may be ordered, and those that may not.
	// +optional
	DNS *NamesSpec `json:"dns,omitempty"`
	// ip lists the networks whose addresses may be ordered, and those whose may not.
	// +optional
	IP *AddressesSpec `json:"ip,omitempty"`
	// maxLabels bounds the labels of a name: clients that order a certificate for
	// whatever name they are asked for are easily made to order a.a.a.a.…
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=127
	MaxLabels int32 `json:"maxLabels,omitempty"`
	// maxRepeats bounds how often a label, or several together, may stand in a row
	// in a name: with 2, www.www.corp.example may be ordered, and
	// a.b.a.b.a.b.corp.example may not. The reason is that of maxLabels.
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=127
	MaxRepeats int32 `json:"maxRepeats,omitempty"`
}

// NamesSpec has patterns of domain names: a name, or `*.` and a name for all names
// below it, at any depth.
type NamesSpec struct {
	// allow lists what may be ordered.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Allow []NamePattern `json:"allow,omitempty"`
	// deny lists what may not.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Deny []NamePattern `json:"deny,omitempty"`
}

// NamePattern is a name, or `*.` and a name for all names below it.
//
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="write a domain name in lower case, or *. and one, such as *.corp.example"
type NamePattern string

// AddressesSpec has networks of IP addresses.
type AddressesSpec struct {
	// allow lists networks whose addresses may be ordered.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Allow []CIDR `json:"allow,omitempty"`
	// deny lists networks whose addresses may not.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Deny []CIDR `json:"deny,omitempty"`
}

// ExternalAccountsSpec says who may make ACME accounts (external account binding,
// RFC 8555 §7.3.4).
type ExternalAccountsSpec struct {
	// required refuses accounts without a binding. The ClusterIssuer has a binding of
	// its own, which the operator makes.
	// +optional
	Required bool `json:"required,omitempty"`
	// secretRef names a Secret with a MAC key for each key identifier: the
	// identifier is the key of the Secret's data, and the value has at least 16
	// octets in base64url, as clients are given it. The servers restart one by one
	// when it changes.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
}

// DirectorySpec is what the directory tells clients (RFC 8555 §7.1.1).
type DirectorySpec struct {
	// termsOfService is a URL of terms that who makes an account must agree to.
	// +optional
	TermsOfService Link `json:"termsOfService,omitempty"`
	// website is a URL that tells more of the authority. Clients are sent there to
	// read why a certificate should be renewed early.
	// +optional
	Website Link `json:"website,omitempty"`
	// rateLimits is a URL where the limits are explained, which refusals link to;
	// default: the operator's documentation.
	// +optional
	RateLimits Link `json:"rateLimits,omitempty"`
	// caaIdentities are the domain names that the authority goes by in CAA records.
	// Where there are any, CAA records are obeyed (RFC 8659, RFC 8657): nothing is
	// issued for a domain whose records name others only, or cannot be looked up.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(d, d.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",message="write domain names in lower case, such as ca.corp.example"
	// +kubebuilder:validation:XValidation:rule="self.all(d, self.exists_one(e, e == d))",message="write each domain name once"
	CAAIdentities []string `json:"caaIdentities,omitempty"`
}

// Link is a URL for people.
//
// +kubebuilder:validation:MaxLength=2048
// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost().size() > 0",message="write a URL, such as https://pki.corp.example/terms"
type Link string

// LifetimesSpec is how long what the servers make is good for. Those of
// certificates are of their profiles.
type LifetimesSpec struct {
	// order is how long a client may take from newOrder to finalize.
	// +optional
	// +kubebuilder:default="168h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('720h')",message="write 1m to 720h, such as 168h"
	Order *metav1.Duration `json:"order,omitempty"`
	// authorizationReuse is how old a valid authorization may be that an order uses
	// again, so that control of the name is not proved once more; 0s is never. Where
	// it is more, clients may also prove control before they order (newAuthz).
	// +optional
	// +kubebuilder:default="0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('720h')",message="write 0s to 720h, such as 24h"
	AuthorizationReuse *metav1.Duration `json:"authorizationReuse,omitempty"`
}

// Lint says what becomes of a certificate that breaks a rule of RFC 5280.
//
// +kubebuilder:validation:Enum=Off;Warn;Enforce
type Lint string
