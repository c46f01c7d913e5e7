package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// GarbageCollectionSpec is when the operator takes what has expired to its end,
// and deletes what is old.
type GarbageCollectionSpec struct {
	// interval between two collections; `0s` for none. A collection that leaves work
	// is followed by the next one at once.
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || duration(self) >= duration('10s')",message="write at least 10s, or 0s for no collection of garbage"
	Interval *metav1.Duration `json:"interval,omitempty"`
	// retention is how long what is over is kept.
	// +optional
	// +kubebuilder:default={}
	Retention RetentionSpec `json:"retention,omitempty"`
}

// RetentionSpec is how long what is over is kept; `0s` is for ever.
type RetentionSpec struct {
	// orders is the age at which orders that are valid or invalid are deleted.
	// +optional
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || duration(self) >= duration('24h')",message="write at least 24h, or 0s to keep orders for ever"
	Orders *metav1.Duration `json:"orders,omitempty"`
	// authorizations is the age at which authorizations that are not pending, and
	// have expired, are deleted.
	// +optional
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || duration(self) >= duration('24h')",message="write at least 24h, or 0s to keep authorizations for ever"
	Authorizations *metav1.Duration `json:"authorizations,omitempty"`
	// certificates is how long after its end a certificate is deleted, with its order.
	// +optional
	// +kubebuilder:default="2160h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || duration(self) >= duration('24h')",message="write at least 24h, or 0s to keep certificates for ever"
	Certificates *metav1.Duration `json:"certificates,omitempty"`
}

// GarbageCollectionStatus is a collection of garbage. It is written where the
// condition GarbageCollected changes, and else every ten minutes.
type GarbageCollectionStatus struct {
	// lastRun is when the collection that this tells of began.
	LastRun metav1.Time `json:"lastRun"`
	// nextRun is when the one after it was due; those that find all well are not told of.
	// +optional
	NextRun *metav1.Time `json:"nextRun,omitempty"`
	// duration of it.
	Duration metav1.Duration `json:"duration"`
	// swept has the number of rows that each sweep changed or deleted since this was
	// written before; those without any are absent.
	// +optional
	Swept map[string]int64 `json:"swept,omitempty"`
}
