package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DatabaseSpec is where accounts, orders and certificates are kept: in a Postgres
// of the user's, or in one that the operator runs.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.secretRef) && has(self.embedded))",message="set database.secretRef (a database of yours) or database.embedded (one that the operator runs), not both"
// +kubebuilder:validation:XValidation:rule="!has(self.rootCAsRef) || has(self.secretRef)",message="database.rootCAsRef goes with database.secretRef; the embedded database is verified anyway"
type DatabaseSpec struct {
	// secretRef names the Secret with the connection URI, such as the one that
	// CloudNativePG writes (<cluster>-app).
	// +optional
	SecretRef *DatabaseSecretReference `json:"secretRef,omitempty"`

	// rootCAsRef names the Secret with the certificates that the database's own is
	// verified against, such as CloudNativePG's <cluster>-ca. Without it, the
	// connection is as safe as the URI's sslmode says.
	// +optional
	RootCAsRef *RootCAsReference `json:"rootCAsRef,omitempty"`

	// schema is the Postgres schema of this AcmeServer, so that several can share
	// a database. It cannot be changed.
	// +optional
	// +kubebuilder:default=acme
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z_][a-z0-9_]*$') && !self.startsWith('pg_')",message="write a Postgres schema of up to 63 of a-z, 0-9 and _, not beginning with a digit or pg_"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the schema cannot be changed, since every account and certificate would be left behind in the old one; make a new AcmeServer"
	Schema string `json:"schema,omitempty"`

	// embedded configures the Postgres that the operator runs where there is no
	// secretRef: one instance with a volume, a generated password and verified TLS.
	// It has no replica and no backup; where those matter, use secretRef.
	// +optional
	Embedded *EmbeddedDatabase `json:"embedded,omitempty"`
}

// DatabaseSecretReference names a key of a Secret of the AcmeServer's namespace.
type DatabaseSecretReference struct {
	SecretReference `json:",inline"`
	// key that holds the connection URI (postgresql://user:password@host/database).
	// +optional
	// +kubebuilder:default=uri
	// +kubebuilder:validation:MinLength=1
	Key string `json:"key,omitempty"`
}

// RootCAsReference names a key of a Secret of the AcmeServer's namespace.
type RootCAsReference struct {
	SecretReference `json:",inline"`
	// key that holds the certificates, in PEM.
	// +optional
	// +kubebuilder:default=ca.crt
	// +kubebuilder:validation:MinLength=1
	Key string `json:"key,omitempty"`
}

// EmbeddedDatabase configures the Postgres that the operator runs.
//
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="the storage class of a volume cannot be changed; make a new AcmeServer"
type EmbeddedDatabase struct {
	// storage is the size of the volume. To enlarge it later, edit the
	// PersistentVolumeClaim data-<name>-database-0.
	// +optional
	// +kubebuilder:default="1Gi"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the size is that of a volume that exists; to enlarge it, edit the PersistentVolumeClaim data-<name>-database-0"
	Storage *resource.Quantity `json:"storage,omitempty"`
	// storageClassName of the volume; default: the cluster's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	StorageClassName *string `json:"storageClassName,omitempty"`
	// image with PostgreSQL 15 or later: initdb and postgres in PATH or in
	// /usr/lib/postgresql/*/bin, and a POSIX shell. Its entry point is not used.
	// Default: that of the operator's flag --database-image.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Image string `json:"image,omitempty"`
	// resources of the container; default: requests of 50m CPU and 256Mi memory.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
}
