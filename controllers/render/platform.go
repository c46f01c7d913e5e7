package render

import (
	"net/netip"
	"slices"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// AnyNamespace stands for all namespaces.
const AnyNamespace = "*"

// Platform is what the operator was started with; it is the same for every AcmeServer.
type Platform struct {
	// ServerImage has /acmeserver. An AcmeServer may name another.
	ServerImage string
	// DatabaseImage has PostgreSQL. An AcmeServer may name another.
	DatabaseImage string
	// ClusterDomain is the DNS domain of the cluster, such as cluster.local.
	ClusterDomain string
	// OperatorNamespace is where the operator runs: from there it migrates the
	// embedded database.
	OperatorNamespace string
	// CertManagerNamespace is where cert-manager looks for the Secrets of
	// ClusterIssuers (its flag --cluster-resource-namespace).
	CertManagerNamespace string
	// ClusterIssuerNamespaces lists the namespaces whose AcmeServers choose the name
	// and the solvers of their ClusterIssuers, [AnyNamespace] for all. Both reach what
	// is of the whole cluster: names that others go by, and, by cert-manager, the
	// Secrets of its own namespace.
	ClusterIssuerNamespaces []string
	// APIServer has the addresses of the Kubernetes API that answer on a port which
	// validators dial. They are denied to validators unless the AcmeServer allows them.
	APIServer []netip.Addr
}

// ClusterIssuerNotAllowed returns the field of a ClusterIssuer that the AcmeServer's
// namespace may not choose, or "".
func ClusterIssuerNotAllowed(s *v1alpha1.AcmeServer, p Platform) string {
	switch {
	case slices.Contains(p.ClusterIssuerNamespaces, s.Namespace), slices.Contains(p.ClusterIssuerNamespaces, AnyNamespace):
		return ""
	case ClusterIssuerName(s) != defaultClusterIssuerName(s):
		return "spec.clusterIssuer.name"
	case len(s.Spec.ClusterIssuer.Solvers) > 0:
		return "spec.clusterIssuer.solvers"
	default:
		return ""
	}
}
