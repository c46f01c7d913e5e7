package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// PodSpec is how the servers' pods are scheduled. Their security settings are
// not to be changed: they satisfy the restricted pod security standard.
type PodSpec struct {
	// labels of the pods, besides the operator's.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// annotations of the pods, besides the operator's.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// resources of the container; default: requests of 50m CPU and 64Mi memory.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// nodeSelector of the pods.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations of the pods.
	// +optional
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// affinity of the pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// topologySpreadConstraints of the pods; default: from 2 replicas on, over
	// nodes and zones as far as possible.
	// +optional
	// +listType=atomic
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// priorityClassName of the pods.
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// imagePullSecrets of the pods, those of the embedded database included.
	// +optional
	// +listType=atomic
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
}

// NetworkPolicySpec restricts who can reach the servers and the embedded
// database, where the cluster's network enforces NetworkPolicies.
type NetworkPolicySpec struct {
	// enabled says whether NetworkPolicies are made: the servers' ports are
	// reached from everywhere, or as `from` says, that of their metrics as
	// `metricsFrom` says, and the embedded database only by the servers and the
	// operator.
	// +optional
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`
	// from lists who may reach the servers' ACME and CRL ports; default: everybody.
	// cert-manager must be among them if there is a ClusterIssuer.
	// +optional
	// +listType=atomic
	From []networkingv1.NetworkPolicyPeer `json:"from,omitempty"`
	// metricsFrom lists who may reach the servers' port of metrics and health; default:
	// namespaces with the label `metrics: enabled`. The kubelet of a pod's node always
	// may.
	// +optional
	// +listType=atomic
	MetricsFrom []networkingv1.NetworkPolicyPeer `json:"metricsFrom,omitempty"`
}

// ClusterIssuerSpec is the cert-manager issuer that is made and kept current.
type ClusterIssuerSpec struct {
	// enabled says whether a ClusterIssuer is made.
	// +optional
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`
	// name of the ClusterIssuer; default: <namespace>-<name>. Another is for the
	// namespaces that the operator's flag --cluster-issuer-namespaces lists.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="write the name of a Kubernetes object: a-z, 0-9, - and ."
	Name string `json:"name,omitempty"`
	// email that cert-manager registers with.
	// +optional
	// +kubebuilder:validation:MaxLength=254
	Email string `json:"email,omitempty"`
	// profile that the issuer's orders ask for; default: the server's default.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Profile string `json:"profile,omitempty"`
	// solvers are cert-manager's ACME challenge solvers, as its documentation
	// describes them (acme.solvers of an issuer); cert-manager's own schema checks
	// them. Default: http01 by Ingresses of the cluster's default class. Not needed
	// where validation.mode is Trusted. Others are for the namespaces that the
	// operator's flag --cluster-issuer-namespaces lists.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Solvers []Solver `json:"solvers,omitempty"`
}

// Solver is an ACMEChallengeSolver of cert-manager. It is carried as it was
// written: cert-manager's type would bring its schema of some thousand lines, and
// would drop the fields of releases newer than the one that we were built with.
//
// +kubebuilder:validation:Type=object
// +kubebuilder:pruning:PreserveUnknownFields
type Solver struct {
	runtime.RawExtension `json:",inline"`
}
