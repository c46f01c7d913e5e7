package render

import (
	"fmt"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// DirectoryPath is where the servers have their directory (RFC 8555 §7.1.1).
const DirectoryPath = "/directory"

// ServerName is the name of the ServiceAccount, ConfigMap, Deployment, Service,
// PodDisruptionBudget and NetworkPolicy of the servers.
func ServerName(s *v1alpha1.AcmeServer) string { return s.Name }

// ServerContainer is the container of the servers' pods that /acmeserver runs in.
const ServerContainer = "acmeserver"

// DatabaseName is the name of the embedded database's Secret with the
// connection, of its ConfigMap, StatefulSet, Service and NetworkPolicy.
func DatabaseName(s *v1alpha1.AcmeServer) string { return s.Name + "-database" }

// DatabaseTLSName is the name of the Secret with the embedded database's certificate.
func DatabaseTLSName(s *v1alpha1.AcmeServer) string { return s.Name + "-database-tls" }

// DatabaseVolumeName is the name of the embedded database's PersistentVolumeClaim.
func DatabaseVolumeName(s *v1alpha1.AcmeServer) string {
	return databaseVolume + "-" + DatabaseName(s) + "-0"
}

// RootSecretName is the name of the Secret with the root that the operator made
// and its key. No pod mounts it.
func RootSecretName(s *v1alpha1.AcmeServer) string { return s.Name + "-root-ca" }

// IssuedAuthorityName is the name of the Certificate by which cert-manager issues the
// authority, and of its Secret. It ends as no name of another AcmeServer's Secret does:
// cert-manager would write over it.
func IssuedAuthorityName(s *v1alpha1.AcmeServer) string { return s.Name + "-ca-issued" }

// SelfSigned reports whether the operator makes the authority.
func SelfSigned(s *v1alpha1.AcmeServer) bool {
	return s.Spec.CA.SecretRef == nil && s.Spec.CA.CertManager == nil
}

// AuthoritySecretName is the name of the Secret that the servers sign with.
func AuthoritySecretName(s *v1alpha1.AcmeServer) string {
	switch {
	case s.Spec.CA.SecretRef != nil:
		return s.Spec.CA.SecretRef.Name
	case s.Spec.CA.CertManager != nil:
		return IssuedAuthorityName(s)
	}
	return s.Name + "-ca"
}

// AlternateChains returns where the chains are that clients may choose: the Secret
// and its key, or nothing.
func AlternateChains(s *v1alpha1.AcmeServer) (name, key string) {
	if ref := s.Spec.CA.AlternateChainsRef; ref != nil {
		return ref.Name, ref.Key
	}
	return "", ""
}

// ClusterIssuerName is the name of the ClusterIssuer.
func ClusterIssuerName(s *v1alpha1.AcmeServer) string {
	if s.Spec.ClusterIssuer.Name != "" {
		return s.Spec.ClusterIssuer.Name
	}
	return defaultClusterIssuerName(s)
}

// defaultClusterIssuerName is the name where the spec has none. It begins with that of
// a namespace, so that it is not one which the owner of another goes by.
func defaultClusterIssuerName(s *v1alpha1.AcmeServer) string { return s.Namespace + "-" + s.Name }

// DatabaseSecret returns where the connection URI is: the Secret and its key.
func DatabaseSecret(s *v1alpha1.AcmeServer) (name, key string) {
	if ref := s.Spec.Database.SecretRef; ref != nil {
		return ref.Name, ref.Key
	}
	return DatabaseName(s), DatabaseURIKey
}

// DatabaseRootCAs returns where the certificates are that the database's own is
// verified against: the Secret and its key, or nothing.
func DatabaseRootCAs(s *v1alpha1.AcmeServer) (name, key string) {
	switch {
	case s.Spec.Database.SecretRef == nil:
		return DatabaseName(s), RootsKey
	case s.Spec.Database.RootCAsRef != nil:
		return s.Spec.Database.RootCAsRef.Name, s.Spec.Database.RootCAsRef.Key
	}
	return "", ""
}

// SecretNames lists the Secrets that an AcmeServer is made of, its own and those
// that it refers to: a change of any is a reason to reconcile.
func SecretNames(s *v1alpha1.AcmeServer) []string {
	uri, _ := DatabaseSecret(s)
	names := []string{uri, AuthoritySecretName(s)}
	if s.Spec.Database.SecretRef == nil {
		names = append(names, DatabaseTLSName(s))
	}
	if ref := s.Spec.Database.RootCAsRef; ref != nil {
		names = append(names, ref.Name)
	}
	if SelfSigned(s) {
		names = append(names, RootSecretName(s))
	}
	if name, _ := AlternateChains(s); name != "" {
		names = append(names, name)
	}
	if e := s.Spec.ExternalAccounts; e != nil && e.SecretRef != nil {
		names = append(names, e.SecretRef.Name)
	}
	if BindsClusterIssuer(s) {
		names = append(names, ExternalAccountSecretName(s))
	}
	return names
}

// host is the name of a Service that every pod of the cluster resolves.
func host(service, namespace string) string { return service + "." + namespace + ".svc" }

// BaseURL is the URL that clients in the cluster reach the servers by.
func BaseURL(s *v1alpha1.AcmeServer) string {
	return "https://" + host(ServerName(s), s.Namespace)
}

// DirectoryURL is the URL that clients in the cluster are configured with.
func DirectoryURL(s *v1alpha1.AcmeServer) string { return BaseURL(s) + DirectoryPath }

// urls lists every URL that the servers answer by. The first stands in
// certificates, whose holders may be outside of the cluster.
func urls(s *v1alpha1.AcmeServer, p Platform) []string {
	var all []string
	for _, h := range s.Spec.Hostnames {
		all = append(all, "https://"+h)
	}
	return append(all, BaseURL(s), fmt.Sprintf("%s.%s", BaseURL(s), p.ClusterDomain))
}
