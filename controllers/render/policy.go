package render

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// PodDisruptionBudget returns the budget that keeps all servers but one, or nil
// where there are not two: one that forbids every eviction blocks the
// maintenance of nodes.
func PodDisruptionBudget(s *v1alpha1.AcmeServer) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	if Replicas(s) < 2 {
		return nil
	}
	return policyv1ac.PodDisruptionBudget(ServerName(s), s.Namespace).
		WithLabels(server.labels(s)).WithOwnerReferences(owner(s)).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(server.selector(s))))
}

// labelMetrics is on the namespaces that scrape, with the value that kubebuilder's
// projects have.
const labelMetrics = "metrics"

// NetworkPolicy returns the policy that says who reaches the servers, or nil
// where none is asked for. What they dial is bounded by validation.networks.
func NetworkPolicy(s *v1alpha1.AcmeServer) (*networkingv1ac.NetworkPolicyApplyConfiguration, error) {
	if !NetworkPolicyEnabled(s) {
		return nil, nil
	}
	from, err := convertEach[networkingv1ac.NetworkPolicyPeerApplyConfiguration](s.Spec.NetworkPolicy.From)
	if err != nil {
		return nil, err
	}
	// Probes are not named: a NetworkPolicy does not hold for what comes from the pod's
	// own node.
	metricsFrom, err := convertEach[networkingv1ac.NetworkPolicyPeerApplyConfiguration](s.Spec.NetworkPolicy.MetricsFrom)
	if err != nil {
		return nil, err
	}
	if len(metricsFrom) == 0 {
		metricsFrom = append(metricsFrom, networkingv1ac.NetworkPolicyPeer().
			WithNamespaceSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{labelMetrics: "enabled"})))
	}
	return networkingv1ac.NetworkPolicy(ServerName(s), s.Namespace).
		WithLabels(server.labels(s)).WithOwnerReferences(owner(s)).
		WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(server.selector(s))).
			WithPolicyTypes(networkingv1.PolicyTypeIngress).
			WithIngress(
				networkingv1ac.NetworkPolicyIngressRule().WithFrom(from...).
					WithPorts(tcp(portACME), tcp(portHTTP)),
				networkingv1ac.NetworkPolicyIngressRule().WithFrom(metricsFrom...).
					WithPorts(tcp(portOps)),
			)), nil
}

// DatabaseNetworkPolicy returns the policy that lets only the servers and the
// operator reach the embedded database, and lets it reach nobody; nil where none
// is asked for.
func DatabaseNetworkPolicy(s *v1alpha1.AcmeServer, p Platform) *networkingv1ac.NetworkPolicyApplyConfiguration {
	if !NetworkPolicyEnabled(s) {
		return nil
	}
	return networkingv1ac.NetworkPolicy(DatabaseName(s), s.Namespace).
		WithLabels(database.labels(s)).WithOwnerReferences(owner(s)).
		WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(database.selector(s))).
			WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
			WithIngress(networkingv1ac.NetworkPolicyIngressRule().
				WithPorts(tcp("postgresql")).
				WithFrom(
					networkingv1ac.NetworkPolicyPeer().
						WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(server.selector(s))),
					networkingv1ac.NetworkPolicyPeer().
						WithNamespaceSelector(metav1ac.LabelSelector().
							WithMatchLabels(map[string]string{corev1.LabelMetadataName: p.OperatorNamespace})).
						WithPodSelector(metav1ac.LabelSelector().
							WithMatchLabels(map[string]string{labelName: Operator})),
				)))
}

// NetworkPolicyEnabled reports whether NetworkPolicies are asked for.
func NetworkPolicyEnabled(s *v1alpha1.AcmeServer) bool {
	return s.Spec.NetworkPolicy.Enabled == nil || *s.Spec.NetworkPolicy.Enabled
}

// tcp returns a port of pods by its name.
func tcp(port string) *networkingv1ac.NetworkPolicyPortApplyConfiguration {
	return networkingv1ac.NetworkPolicyPort().
		WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromString(port))
}
