package render

import "net/netip"

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
	// APIServer has the addresses of the Kubernetes API that answer on a port which
	// validators dial. They are denied to validators unless the AcmeServer allows them.
	APIServer []netip.Addr
}
