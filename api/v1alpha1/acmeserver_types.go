package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AcmeServer is an ACME certificate authority (RFC 8555) inside the cluster: its
// servers, their database, the keys they sign with, and cert-manager's issuer.
// Every field has a default; `spec: {}` is a working authority.
//
// The rules on the name keep the names of what is made from it legal: a Service
// and the pods of a StatefulSet.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=acmes,categories=acme
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.directoryURL`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="CA expiry",type=string,JSONPath=`.status.certificateAuthority.notAfter`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name names a Service: write at most 40 of a-z, 0-9 and -, beginning with a letter"
type AcmeServer struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	// +kubebuilder:default={}
	Spec AcmeServerSpec `json:"spec,omitempty"`
	// Status is what was found.
	// +optional
	Status AcmeServerStatus `json:"status,omitempty"`
}

// AcmeServerList is a list of AcmeServers.
//
// +kubebuilder:object:root=true
type AcmeServerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AcmeServer `json:"items"`
}

// AcmeServerSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="!has(self.validation) || !has(self.validation.challenges) || !('dns-persist-01' in self.validation.challenges) || (has(self.directory) && has(self.directory.caaIdentities) && self.directory.caaIdentities.size() > 0)",message="the challenge dns-persist-01 needs directory.caaIdentities: its records name the authority"
// +kubebuilder:validation:XValidation:rule="!has(self.externalAccounts) || !has(self.externalAccounts.required) || !self.externalAccounts.required || has(self.externalAccounts.secretRef) || !has(self.clusterIssuer) || !has(self.clusterIssuer.enabled) || self.clusterIssuer.enabled",message="externalAccounts.required without secretRef and without a ClusterIssuer would let nobody in: name a Secret with keys"
type AcmeServerSpec struct {
	// replicas is the number of servers. They keep no state of their own, so that
	// any number is correct; from 2 on they are spread over nodes and zones, and a
	// PodDisruptionBudget keeps all but one.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// image of the server; default: that of the operator, so that both are
	// upgraded together.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Image string `json:"image,omitempty"`

	// database is where accounts, orders and certificates are kept.
	// +optional
	// +kubebuilder:default={}
	Database DatabaseSpec `json:"database,omitempty"`

	// ca is what certificates are signed with.
	// +optional
	// +kubebuilder:default={}
	CA CertificateAuthoritySpec `json:"ca,omitempty"`

	// validation tells how clients prove control of the names they ask for.
	// +optional
	// +kubebuilder:default={}
	Validation ValidationSpec `json:"validation,omitempty"`

	// identifiers says what may be ordered; default: everything.
	// +optional
	Identifiers *IdentifiersSpec `json:"identifiers,omitempty"`

	// maxIdentifiers bounds the identifiers of an order, and so the names of a
	// certificate.
	// +optional
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MaxIdentifiers int32 `json:"maxIdentifiers,omitempty"`

	// externalAccounts says who may make accounts; default: everybody.
	// +optional
	ExternalAccounts *ExternalAccountsSpec `json:"externalAccounts,omitempty"`

	// directory is what the directory tells clients.
	// +optional
	Directory *DirectorySpec `json:"directory,omitempty"`

	// lifetimes of what the servers make.
	// +optional
	Lifetimes *LifetimesSpec `json:"lifetimes,omitempty"`

	// profiles are the kinds of certificate that clients choose from; default:
	// tlsserver (90 days), shortlived (160 hours) and clientserver (90 days, for
	// mutual TLS).
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.filter(p, has(p.default) && p.default).size() <= 1",message="mark at most one profile with `default: true`; where none is, the first is the default"
	Profiles []Profile `json:"profiles,omitempty"`

	// clusterIssuer is the cert-manager issuer that is made and kept current.
	// +optional
	// +kubebuilder:default={}
	ClusterIssuer ClusterIssuerSpec `json:"clusterIssuer,omitempty"`

	// hostnames are further names that clients reach the servers by, such as that
	// of a load balancer. The first stands in the CRL and issuer URLs of
	// certificates, which without hostnames name the Service.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(h, h.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",message="write host names in lower case without scheme, port or wildcard, such as acme.corp.example"
	Hostnames []string `json:"hostnames,omitempty"`

	// service is what the servers are reached through.
	// +optional
	// +kubebuilder:default={}
	Service ServiceSpec `json:"service,omitempty"`

	// pod is how the servers' pods are scheduled.
	// +optional
	// +kubebuilder:default={}
	Pod PodSpec `json:"pod,omitempty"`

	// networkPolicy restricts who can reach the servers and the embedded database.
	// +optional
	// +kubebuilder:default={}
	NetworkPolicy NetworkPolicySpec `json:"networkPolicy,omitempty"`

	// garbageCollection is when what has expired is taken to its end, and what is
	// old is deleted from the database.
	// +optional
	// +kubebuilder:default={}
	GarbageCollection GarbageCollectionSpec `json:"garbageCollection,omitempty"`

	// rateLimitPolicyRef names the AcmeRateLimitPolicy of the same namespace that says
	// how much clients may ask for; default: the built-in limits. Where it names one
	// that is not there, or is deleted later, the limits in force stay.
	// +optional
	RateLimitPolicyRef *RateLimitPolicyReference `json:"rateLimitPolicyRef,omitempty"`

	// deletionPolicy tells what becomes of what cannot be made again, when the
	// AcmeServer is deleted: the volume of the embedded database and the Secrets
	// with the authority's keys. Retained, a new AcmeServer of the same name
	// continues with them.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DeletionPolicy tells what becomes of what cannot be made again.
//
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// The deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// SecretReference names a Secret of the AcmeServer's namespace.
type SecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// AcmeServerStatus is what was found.
type AcmeServerStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, DatabaseReady, CertificateAuthorityReady, Available,
	// ClusterIssuerReady, IssuanceRestricted, GarbageCollected,
	// RateLimitPolicyEnforced. The message of one that is not True says what to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// directoryURL is what ACME clients in the cluster are configured with.
	// +optional
	DirectoryURL string `json:"directoryURL,omitempty"`
	// replicas is the number of servers that there are.
	// +optional
	Replicas int32 `json:"replicas"`
	// readyReplicas is the number of servers that answer.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`
	// selector selects the servers' pods, for the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty"`
	// certificateAuthority is the certificate that is signed with.
	// +optional
	CertificateAuthority *CertificateAuthorityStatus `json:"certificateAuthority,omitempty"`
	// garbageCollection is the last collection of garbage that was told of; absent
	// where there is none.
	// +optional
	GarbageCollection *GarbageCollectionStatus `json:"garbageCollection,omitempty"`
	// rateLimits are the limits in force; absent until the database has them.
	// +optional
	RateLimits *RateLimitsStatus `json:"rateLimits,omitempty"`
}

// CertificateAuthorityStatus is the certificate that is signed with.
type CertificateAuthorityStatus struct {
	// subject is its distinguished name (RFC 2253).
	Subject string `json:"subject"`
	// fingerprint is the SHA-256 of the certificate, in lower-case hexadecimal.
	Fingerprint string `json:"fingerprint"`
	// notAfter is when it expires.
	NotAfter metav1.Time `json:"notAfter"`
	// renewAt is when the operator will renew it; absent where it will not.
	// +optional
	RenewAt *metav1.Time `json:"renewAt,omitempty"`
}

// ServiceSpec is what the servers are reached through.
//
// +kubebuilder:validation:XValidation:rule="!has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')",message="externalTrafficPolicy is of a Service that is reached from outside: set type to NodePort or LoadBalancer, or leave it out"
type ServiceSpec struct {
	// type of the Service.
	// +optional
	// +kubebuilder:default=ClusterIP
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`
	// externalTrafficPolicy of a Service that is reached from outside; default:
	// Cluster. Local keeps the addresses of clients, which limits for each address and
	// the log go by, and sends nothing to nodes without a server.
	// +optional
	// +kubebuilder:validation:Enum=Cluster;Local
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`
	// annotations of the Service, as load balancers and DNS controllers read them.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}
