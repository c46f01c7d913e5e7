package render

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// serverUser is the uid of the servers.
const serverUser = 65532

// The ports of the servers, by name and number.
const (
	portACME, portACMENumber = "acme", 8443
	portHTTP, portHTTPNumber = "http", 8080
	portOps, portOpsNumber   = "ops", 9090
)

// ServiceAccount returns the servers' ServiceAccount: they never ask the
// Kubernetes API, and get no token for it.
func ServiceAccount(s *v1alpha1.AcmeServer) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(ServerName(s), s.Namespace).
		WithLabels(server.labels(s)).WithOwnerReferences(owner(s)).
		WithAutomountServiceAccountToken(false)
}

// ConfigMap returns the servers' ConfigMap with the data that Config returned.
func ConfigMap(s *v1alpha1.AcmeServer, data map[string]string) *corev1ac.ConfigMapApplyConfiguration {
	return corev1ac.ConfigMap(ServerName(s), s.Namespace).
		WithLabels(server.labels(s)).WithOwnerReferences(owner(s)).
		WithData(data)
}

// Service returns the Service that clients reach the servers by. Health and
// metrics are not of it: it may be open to the world.
func Service(s *v1alpha1.AcmeServer) *corev1ac.ServiceApplyConfiguration {
	port := func(name string, number int32) *corev1ac.ServicePortApplyConfiguration {
		return corev1ac.ServicePort().WithName(name).WithProtocol(corev1.ProtocolTCP).
			WithPort(number).WithTargetPort(intstr.FromString(name))
	}
	spec := corev1ac.ServiceSpec().
		WithType(s.Spec.Service.Type).
		WithSelector(server.selector(s)).
		WithPorts(port(portACME, 443), port(portHTTP, 80))
	if s.Spec.Service.ExternalTrafficPolicy != "" {
		spec.WithExternalTrafficPolicy(s.Spec.Service.ExternalTrafficPolicy)
	}
	service := corev1ac.Service(ServerName(s), s.Namespace).
		WithLabels(server.labels(s)).WithOwnerReferences(owner(s)).
		WithSpec(spec)
	if len(s.Spec.Service.Annotations) > 0 {
		service.WithAnnotations(s.Spec.Service.Annotations)
	}
	return service
}

// Deployment returns the servers' Deployment. Its pods are made anew when the
// digest changes, which is that of the files that they read at their start.
func Deployment(s *v1alpha1.AcmeServer, p Platform, digest string) (*appsv1ac.DeploymentApplyConfiguration, error) {
	pod, err := serverPod(s, p)
	if err != nil {
		return nil, err
	}
	return appsv1ac.Deployment(ServerName(s), s.Namespace).
		WithLabels(server.labels(s)).WithOwnerReferences(owner(s)).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(Replicas(s)).
			WithRevisionHistoryLimit(3).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(server.selector(s))).
			// A new server is ready, and every node sends requests to it, before an old
			// one goes or cert-manager is told of the first.
			WithMinReadySeconds(2).
			WithStrategy(appsv1ac.DeploymentStrategy().WithType(appsv1.RollingUpdateDeploymentStrategyType).
				WithRollingUpdate(appsv1ac.RollingUpdateDeployment().
					WithMaxUnavailable(intstr.FromInt32(0)).WithMaxSurge(intstr.FromInt32(1)))).
			WithTemplate(corev1ac.PodTemplateSpec().
				WithLabels(merge(s.Spec.Pod.Labels, server.labels(s))).
				WithAnnotations(merge(s.Spec.Pod.Annotations, map[string]string{annotationDigest: digest})).
				WithSpec(pod))), nil
}

// Replicas is the number of servers asked for.
func Replicas(s *v1alpha1.AcmeServer) int32 {
	if s.Spec.Replicas == nil {
		return 1
	}
	return *s.Spec.Replicas
}

// serverPod returns the spec of the servers' pods.
func serverPod(s *v1alpha1.AcmeServer, p Platform) (*corev1ac.PodSpecApplyConfiguration, error) {
	container, err := serverContainer(s, p)
	if err != nil {
		return nil, err
	}
	pod := corev1ac.PodSpec().
		WithServiceAccountName(ServerName(s)).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithSecurityContext(podSecurity(serverUser)).
		// The servers' shutdownDelay and shutdownTimeout are 30 s together.
		WithTerminationGracePeriodSeconds(40).
		WithContainers(container).
		WithVolumes(
			corev1ac.Volume().WithName("config").WithConfigMap(corev1ac.ConfigMapVolumeSource().
				WithName(ServerName(s)).WithDefaultMode(0o444)),
			corev1ac.Volume().WithName("ca").WithSecret(corev1ac.SecretVolumeSource().
				WithSecretName(AuthoritySecretName(s)).WithDefaultMode(0o440).
				WithItems(keyToPath(corev1.TLSCertKey), keyToPath(corev1.TLSPrivateKeyKey), keyToPath(RootsKey))),
			databaseConnection(s),
		)
	if volume := alternateChains(s); volume != nil {
		pod.WithVolumes(volume)
	}
	if volume := externalAccounts(s); volume != nil {
		pod.WithVolumes(volume)
	}
	return pod, schedule(s, pod)
}

// keyToPath mounts a key of a Secret as the file of the same name.
func keyToPath(key string) *corev1ac.KeyToPathApplyConfiguration {
	return corev1ac.KeyToPath().WithKey(key).WithPath(key)
}

// alternateChains returns the volume with the chains that clients may choose, or nil
// where there are none.
func alternateChains(s *v1alpha1.AcmeServer) *corev1ac.VolumeApplyConfiguration {
	name, key := AlternateChains(s)
	if name == "" {
		return nil
	}
	return corev1ac.Volume().WithName("alternate-chains").WithSecret(corev1ac.SecretVolumeSource().
		WithSecretName(name).WithDefaultMode(0o440).
		WithItems(corev1ac.KeyToPath().WithKey(key).WithPath(AlternateChainsKey)))
}

// databaseConnection returns the volume with the connection URI and the
// certificates that the database's is verified against. They are files and not
// variables, which child processes and crash reports would have.
func databaseConnection(s *v1alpha1.AcmeServer) *corev1ac.VolumeApplyConfiguration {
	item := func(secret, key, path string) *corev1ac.VolumeProjectionApplyConfiguration {
		return corev1ac.VolumeProjection().WithSecret(corev1ac.SecretProjection().WithName(secret).
			WithItems(corev1ac.KeyToPath().WithKey(key).WithPath(path)))
	}
	name, key := DatabaseSecret(s)
	sources := corev1ac.ProjectedVolumeSource().WithDefaultMode(0o440).WithSources(item(name, key, DatabaseURIKey))
	if name, key := DatabaseRootCAs(s); name != "" {
		sources.WithSources(item(name, key, RootsKey))
	}
	return corev1ac.Volume().WithName("database").WithProjected(sources)
}

// serverContainer returns the servers' container.
func serverContainer(s *v1alpha1.AcmeServer, p Platform) (*corev1ac.ContainerApplyConfiguration, error) {
	image := p.ServerImage
	if s.Spec.Image != "" {
		image = s.Spec.Image
	}
	resources := s.Spec.Pod.Resources
	if resources == nil {
		resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}}
	}
	converted, err := convert[corev1ac.ResourceRequirementsApplyConfiguration](resources)
	if err != nil {
		return nil, err
	}
	port := func(name string, number int32) *corev1ac.ContainerPortApplyConfiguration {
		return corev1ac.ContainerPort().WithName(name).WithContainerPort(number).WithProtocol(corev1.ProtocolTCP)
	}
	get := func(path string) *corev1ac.ProbeApplyConfiguration {
		return corev1ac.Probe().WithHTTPGet(corev1ac.HTTPGetAction().
			WithPath(path).WithPort(intstr.FromString(portOps)).WithScheme(corev1.URISchemeHTTP))
	}
	mounts := []*corev1ac.VolumeMountApplyConfiguration{
		mount("config", configDirectory), mount("ca", authorityDirectory), mount("database", databaseDirectory),
	}
	if alternateChains(s) != nil {
		mounts = append(mounts, mount("alternate-chains", alternatesDirectory))
	}
	if externalAccounts(s) != nil {
		mounts = append(mounts, mount("external-accounts", externalAccountsDirectory))
	}
	container := corev1ac.Container().
		WithName(ServerContainer).WithImage(image).WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand("/acmeserver").
		WithArgs("serve", "--config", config.Path).
		WithPorts(port(portACME, portACMENumber), port(portHTTP, portHTTPNumber), port(portOps, portOpsNumber)).
		WithResources(converted).
		WithSecurityContext(containerSecurity()).
		WithReadinessProbe(get("/readyz").WithPeriodSeconds(2).WithTimeoutSeconds(2)).
		WithLivenessProbe(get("/healthz").WithPeriodSeconds(10).WithTimeoutSeconds(5).WithInitialDelaySeconds(10)).
		WithVolumeMounts(mounts...)
	// The server lets its heap grow, but not beyond what it may have. A tenth is for what
	// the kernel keeps for it, and for commands that are executed there.
	if limit := resources.Limits.Memory(); !limit.IsZero() {
		container.WithEnv(corev1ac.EnvVar().WithName("GOMEMLIMIT").WithValue(strconv.FormatInt(limit.Value()/10*9, 10)))
	}
	return container, nil
}
