package render

import (
	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// schedule adds to the servers' pod what the AcmeServer says of where it runs.
func schedule(s *v1alpha1.AcmeServer, pod *corev1ac.PodSpecApplyConfiguration) error {
	tolerations, err := convertEach[corev1ac.TolerationApplyConfiguration](s.Spec.Pod.Tolerations)
	if err != nil {
		return err
	}
	pullSecrets, err := convertEach[corev1ac.LocalObjectReferenceApplyConfiguration](s.Spec.Pod.ImagePullSecrets)
	if err != nil {
		return err
	}
	spread, err := spreading(s)
	if err != nil {
		return err
	}
	pod.WithTolerations(tolerations...).WithImagePullSecrets(pullSecrets...).WithTopologySpreadConstraints(spread...)
	if len(s.Spec.Pod.NodeSelector) > 0 {
		pod.WithNodeSelector(s.Spec.Pod.NodeSelector)
	}
	if s.Spec.Pod.PriorityClassName != "" {
		pod.WithPriorityClassName(s.Spec.Pod.PriorityClassName)
	}
	if s.Spec.Pod.Affinity == nil {
		return nil
	}
	affinity, err := convert[corev1ac.AffinityApplyConfiguration](s.Spec.Pod.Affinity)
	if err != nil {
		return err
	}
	pod.WithAffinity(affinity)
	return nil
}

// spreading returns the constraints that the AcmeServer has, or else those that
// spread several servers of one revision over nodes and zones as far as possible.
func spreading(s *v1alpha1.AcmeServer) ([]*corev1ac.TopologySpreadConstraintApplyConfiguration, error) {
	if len(s.Spec.Pod.TopologySpreadConstraints) > 0 {
		return convertEach[corev1ac.TopologySpreadConstraintApplyConfiguration](s.Spec.Pod.TopologySpreadConstraints)
	}
	if Replicas(s) < 2 {
		return nil, nil
	}
	over := func(key string) *corev1ac.TopologySpreadConstraintApplyConfiguration {
		return corev1ac.TopologySpreadConstraint().
			WithTopologyKey(key).WithMaxSkew(1).WithWhenUnsatisfiable(corev1.ScheduleAnyway).
			WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(server.selector(s))).
			WithMatchLabelKeys("pod-template-hash")
	}
	return []*corev1ac.TopologySpreadConstraintApplyConfiguration{
		over(corev1.LabelHostname), over(corev1.LabelTopologyZone),
	}, nil
}
