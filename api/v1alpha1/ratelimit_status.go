package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RateLimitPolicyReference names an AcmeRateLimitPolicy of the AcmeServer's namespace.
type RateLimitPolicyReference struct {
	// name of the AcmeRateLimitPolicy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// RateLimitsStatus is the limits in force on an AcmeServer. What an AcmeServer
// refers to and is not there, or cannot be enforced, changes nothing of it.
type RateLimitsStatus struct {
	// policy is the AcmeRateLimitPolicy they are of; absent: the built-in one.
	// +optional
	Policy string `json:"policy,omitempty"`
	// policyGeneration is its metadata.generation.
	// +optional
	PolicyGeneration int64 `json:"policyGeneration,omitempty"`
	// generation counts the policies that the servers' database has had: it is by
	// this that servers say which they enforce.
	Generation int64 `json:"generation"`
	// mode is Enforce or DryRun.
	Mode RateLimitMode `json:"mode"`
	// replicas is the number of servers that are at work.
	Replicas int32 `json:"replicas"`
	// enforcing is the number of those that enforce this generation.
	Enforcing int32 `json:"enforcing"`
	// behind has the other replicas, at most ten.
	// +optional
	// +listType=map
	// +listMapKey=name
	Behind []ReplicaBehind `json:"behind,omitempty"`
	// limits that are in force for subjects without an override, for people.
	Limits map[string]string `json:"limits"`
	// throttled has subjects that have used up a limit, those that wait longest
	// first: at most twenty.
	// +optional
	// +listType=atomic
	Throttled []ThrottledSubject `json:"throttled,omitempty"`
	// unpaused has what was done of the policy's annotation acme-ca.dev/unpause.
	// +optional
	// +listType=set
	Unpaused []string `json:"unpaused,omitempty"`
}

// ReplicaBehind is a server that enforces another generation.
type ReplicaBehind struct {
	// name of its pod.
	Name string `json:"name"`
	// generation that it enforces.
	Generation int64 `json:"generation"`
}

// ThrottledSubject is a subject that has used up a limit.
type ThrottledSubject struct {
	// server is the AcmeServer.
	// +optional
	Server string `json:"server,omitempty"`
	// limit that is used up.
	Limit string `json:"limit"`
	// subject that has used it up, as an override names it.
	Subject string `json:"subject"`
	// until when, rounded up to the minute; of an identifier that is paused, when its
	// failures are forgotten.
	Until metav1.Time `json:"until"`
}

// AcmeRateLimitPolicyStatus is what was found.
type AcmeRateLimitPolicyStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Accepted, Enforced. The message of one that is not True says what
	// to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// serverCount is the number of AcmeServers that refer to this policy.
	// +optional
	ServerCount int32 `json:"serverCount"`
	// servers are the AcmeServers that refer to this policy, at most a hundred.
	// +optional
	// +listType=map
	// +listMapKey=name
	Servers []PolicyServer `json:"servers,omitempty"`
	// throttled has subjects that have used up a limit: at most a hundred.
	// +optional
	// +listType=atomic
	Throttled []ThrottledSubject `json:"throttled,omitempty"`
}

// PolicyServer is an AcmeServer that refers to a policy.
type PolicyServer struct {
	// name of the AcmeServer.
	Name string `json:"name"`
	// generation of the policy that is in force on it; 0 where it is none of this policy.
	Generation int64 `json:"generation"`
	// replicas is the number of its servers that are at work.
	Replicas int32 `json:"replicas"`
	// enforcing is the number of those that enforce that generation.
	Enforcing int32 `json:"enforcing"`
}
