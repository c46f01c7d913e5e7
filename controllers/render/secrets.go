package render

import (
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// RootsKey is the key of a Secret that holds trusted certificates.
const RootsKey = "ca.crt"

// AlternateChainsKey is the file that servers read the chains from which clients may
// choose, whatever key of a Secret holds them.
const AlternateChainsKey = "chains.pem"

// DatabaseURIKey is the key of a Secret that holds the connection URI, in
// CloudNativePG's shape.
const DatabaseURIKey = "uri"

// KeyPair is a certificate with its key, in PEM.
type KeyPair struct {
	// Certificate is the chain that begins with the key's certificate, without a root.
	Certificate []byte
	Key         []byte
	// Roots are the certificates that the chain is verified against.
	Roots []byte
}

// RootSecret returns the Secret with the root and its key.
func RootSecret(s *v1alpha1.AcmeServer, pair KeyPair) *corev1.Secret {
	return keptSecret(s, tlsSecret(s, authority, RootSecretName(s), pair))
}

// AuthoritySecret returns the Secret with the intermediate that the servers sign with.
func AuthoritySecret(s *v1alpha1.AcmeServer, pair KeyPair) *corev1.Secret {
	return keptSecret(s, tlsSecret(s, authority, AuthoritySecretName(s), pair))
}

// DatabaseTLSSecret returns the Secret with the embedded database's certificate.
func DatabaseTLSSecret(s *v1alpha1.AcmeServer, pair KeyPair) *corev1.Secret {
	return owned(s, tlsSecret(s, database, DatabaseTLSName(s), pair))
}

// DatabaseConnectionSecret returns the Secret with the embedded database's
// connection, in the shape that CloudNativePG gives it: every part of the URI,
// and the URI itself.
func DatabaseConnectionSecret(s *v1alpha1.AcmeServer, password string, roots []byte) *corev1.Secret {
	name := host(DatabaseName(s), s.Namespace)
	uri := url.URL{
		Scheme: "postgresql", User: url.UserPassword(databaseRole, password),
		Host: fmt.Sprintf("%s:%d", name, databasePort), Path: "/" + databaseRole,
		RawQuery: "sslmode=verify-full",
	}
	secret := secret(s, database, DatabaseName(s))
	secret.Type = corev1.SecretTypeBasicAuth
	secret.Data = map[string][]byte{
		"username":     []byte(databaseRole),
		"password":     []byte(password),
		"host":         []byte(name),
		"port":         fmt.Append(nil, databasePort),
		"dbname":       []byte(databaseRole),
		DatabaseURIKey: []byte(uri.String()),
		RootsKey:       roots,
	}
	return owned(s, secret)
}

// Kept reports whether a Secret with a key of the authority stays when s is deleted.
func Kept(s *v1alpha1.AcmeServer) bool { return s.Spec.DeletionPolicy != v1alpha1.DeletionDelete }

// tlsSecret returns a Secret of the type kubernetes.io/tls.
func tlsSecret(s *v1alpha1.AcmeServer, c component, name string, pair KeyPair) *corev1.Secret {
	secret := secret(s, c, name)
	secret.Type = corev1.SecretTypeTLS
	secret.Data = map[string][]byte{
		corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key, RootsKey: pair.Roots,
	}
	return secret
}

func secret(s *v1alpha1.AcmeServer, c component, name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: s.Namespace, Labels: c.labels(s),
	}}
}

// owned lets a Secret go with its AcmeServer.
func owned(s *v1alpha1.AcmeServer, secret *corev1.Secret) *corev1.Secret {
	secret.OwnerReferences = []metav1.OwnerReference{OwnerReference(s)}
	return secret
}

// keptSecret lets a Secret go with its AcmeServer if its deletion policy says so.
func keptSecret(s *v1alpha1.AcmeServer, secret *corev1.Secret) *corev1.Secret {
	if Kept(s) {
		return secret
	}
	return owned(s, secret)
}

// IsOwnSecret reports whether a Secret was made by the operator for an
// AcmeServer of s's name.
func IsOwnSecret(s *v1alpha1.AcmeServer, secret *corev1.Secret) bool {
	return secret.Labels[LabelManagedBy] == Operator && secret.Labels[labelInstance] == s.Name
}

// OwnSecretLabels returns the labels that IsOwnSecret asks for, as a selector.
func OwnSecretLabels(s *v1alpha1.AcmeServer) string {
	return LabelManagedBy + "=" + Operator + "," + labelInstance + "=" + s.Name
}
