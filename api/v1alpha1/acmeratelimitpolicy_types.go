package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AcmeRateLimitPolicy says how much clients may ask of the AcmeServers that refer
// to it. A change is enforced by every server within a second, without a restart.
//
// A limit that is absent is the built-in one, which status.rateLimits of the
// AcmeServers shows.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=acmerl,categories=acme
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Servers",type=integer,JSONPath=`.status.serverCount`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Enforced")].reason`
type AcmeRateLimitPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	// +kubebuilder:default={}
	Spec AcmeRateLimitPolicySpec `json:"spec,omitempty"`
	// Status is what was found.
	// +optional
	Status AcmeRateLimitPolicyStatus `json:"status,omitempty"`
}

// AcmeRateLimitPolicyList is a list of AcmeRateLimitPolicies.
//
// +kubebuilder:object:root=true
type AcmeRateLimitPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AcmeRateLimitPolicy `json:"items"`
}

// AnnotationUnpause lists, on an AcmeRateLimitPolicy, identifiers whose orders are
// to be taken again after they were paused: `account/identifier`, as problems and
// status.throttled have it, separated by commas. Each is unpaused once; to do it
// again, take it off the list first.
const AnnotationUnpause = "acme-ca.dev/unpause"

// RateLimitMode says what becomes of what is over a limit.
//
// +kubebuilder:validation:Enum=Enforce;DryRun
type RateLimitMode string

// The modes of a policy.
const (
	RateLimitEnforce RateLimitMode = "Enforce"
	RateLimitDryRun  RateLimitMode = "DryRun"
)

// AcmeRateLimitPolicySpec is how much clients may ask for.
type AcmeRateLimitPolicySpec struct {
	// mode is Enforce (what is over a limit is refused) or DryRun (it is counted by
	// the servers' metrics, and served).
	// +optional
	// +kubebuilder:default=Enforce
	Mode RateLimitMode `json:"mode,omitempty"`

	// ordersPerAccount is how many orders of an account are taken; default: 3000 an
	// hour. cert-manager's ClusterIssuer is one account.
	// +optional
	OrdersPerAccount *RateLimit `json:"ordersPerAccount,omitempty"`
	// concurrentOrdersPerAccount is how many orders of an account may be unfinished
	// at once; default: 1000.
	// +optional
	ConcurrentOrdersPerAccount *CountLimit `json:"concurrentOrdersPerAccount,omitempty"`
	// accountsPerAddress is how many accounts may be made from an address (of IPv6: a
	// network of 64 bits); default: 1000 an hour.
	// +optional
	AccountsPerAddress *RateLimit `json:"accountsPerAddress,omitempty"`
	// keyChangesPerAccount is how often an account may change its key; default: 5 an
	// hour.
	// +optional
	KeyChangesPerAccount *RateLimit `json:"keyChangesPerAccount,omitempty"`
	// challengeResponsesPerChallenge is how often a client may ask for a challenge
	// to be looked at; default: 60 an hour.
	// +optional
	ChallengeResponsesPerChallenge *RateLimit `json:"challengeResponsesPerChallenge,omitempty"`
	// failedValidationsPerIdentifier is how many validations of an identifier may
	// fail, for an account, before its orders for it are refused; default: 60 an hour.
	// +optional
	FailedValidationsPerIdentifier *RateLimit `json:"failedValidationsPerIdentifier,omitempty"`
	// certificatesPerDomain is how many certificates may be ordered for names of a
	// domain, as registered under the public suffix list; default: no limit.
	// +optional
	CertificatesPerDomain *RateLimit `json:"certificatesPerDomain,omitempty"`
	// certificatesPerNameSet is how many certificates may be ordered for exactly the
	// same names; default: no limit.
	// +optional
	CertificatesPerNameSet *RateLimit `json:"certificatesPerNameSet,omitempty"`

	// pauseAfterConsecutiveFailures is how many validations of an identifier may fail
	// in a row, for an account, before its orders for it are refused until it is
	// unpaused (by the annotation acme-ca.dev/unpause, or an override); default: 0,
	// which is never.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	PauseAfterConsecutiveFailures int32 `json:"pauseAfterConsecutiveFailures,omitempty"`

	// exemptRenewals lets renewals go free of ordersPerAccount, certificatesPerDomain
	// and certificatesPerNameSet: orders that replace one which is due (RFC 9773 §5), or
	// have exactly the names of one that has lived half of its life.
	// +optional
	// +kubebuilder:default=true
	ExemptRenewals *bool `json:"exemptRenewals,omitempty"`

	// overrides are limits of single subjects.
	// +optional
	// +listType=map
	// +listMapKey=limit
	// +listMapKey=subject
	// +kubebuilder:validation:MaxItems=256
	Overrides []RateLimitOverride `json:"overrides,omitempty"`

	// requestsPerAddress guards each server against floods of requests from one
	// address, before anything of them is read. It is counted by each server for
	// itself, in memory; default: no limit.
	// +optional
	RequestsPerAddress *RateLimit `json:"requestsPerAddress,omitempty"`
}

// RateLimit is so many per period: one becomes free again every period/count.
//
// +kubebuilder:validation:XValidation:rule="self.count == 0 || has(self.period)",message="write the period in which count become free again, such as 1h",fieldPath=".period"
// +kubebuilder:validation:XValidation:rule="self.count == 0 || !has(self.period) || !has(self.burst) || duration(self.period).getSeconds() * self.burst <= 31622400 * self.count",message="a burst that takes more than 8784h to become free again is too large",fieldPath=".burst"
type RateLimit struct {
	// count is how many; 0 for no limit.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Count *int32 `json:"count"`
	// period in which count become free again, evenly.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('8784h')",message="write a duration of 1s to 8784h, such as 1h or 90s"
	Period *metav1.Duration `json:"period,omitempty"`
	// burst is how many at once after a rest; default: count.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst *int32 `json:"burst,omitempty"`
}

// CountLimit is so many at once.
type CountLimit struct {
	// count is how many; 0 for no limit.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Count *int32 `json:"count"`
}

// RateLimitOverride is a limit of one subject.
//
// +kubebuilder:validation:XValidation:rule="self.limit in ['concurrentOrdersPerAccount', 'pauseAfterConsecutiveFailures'] ? !has(self.period) && !has(self.burst) : true",message="this limit bounds how many there are at once: it has neither period nor burst",fieldPath=".limit"
// +kubebuilder:validation:XValidation:rule="self.limit in ['concurrentOrdersPerAccount', 'pauseAfterConsecutiveFailures'] || self.count == 0 || has(self.period)",message="write the period in which count become free again, such as 1h",fieldPath=".period"
// +kubebuilder:validation:XValidation:rule="self.count == 0 || !has(self.period) || !has(self.burst) || duration(self.period).getSeconds() * self.burst <= 31622400 * self.count",message="a burst that takes more than 8784h to become free again is too large",fieldPath=".burst"
type RateLimitOverride struct {
	// limit is the name of its field.
	// +required
	// +kubebuilder:validation:Enum=ordersPerAccount;concurrentOrdersPerAccount;accountsPerAddress;keyChangesPerAccount;challengeResponsesPerChallenge;failedValidationsPerIdentifier;certificatesPerDomain;certificatesPerNameSet;pauseAfterConsecutiveFailures
	Limit string `json:"limit"`
	// subject is whose, as problems and status.throttled have it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Subject string `json:"subject"`
	// count is how many; 0 for no limit.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Count *int32 `json:"count"`
	// period in which count become free again, evenly.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('8784h')",message="write a duration of 1s to 8784h, such as 1h or 90s"
	Period *metav1.Duration `json:"period,omitempty"`
	// burst is how many at once after a rest; default: count.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst *int32 `json:"burst,omitempty"`
}
