package render

import (
	_ "embed" // the files of the embedded database

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// What the embedded database is made of. Its one role owns its one database, and
// both have the same name; database/start.sh makes them.
const (
	databaseRole   = "acme"
	databasePort   = 5432
	databaseUser   = 999 // the uid of PostgreSQL; database/passwd names it
	databaseVolume = "data"

	databaseVolumePath   = "/var/lib/acme-database"
	databaseConfigPath   = "/etc/acme-database/config"
	databaseTLSPath      = "/etc/acme-database/tls"
	databasePasswordPath = "/etc/acme-database/password"
)

var (
	//go:embed database/start.sh
	databaseStart string
	//go:embed database/ready.sh
	databaseReady string
	//go:embed database/postgresql.conf
	databaseSettings string
	//go:embed database/pg_hba.conf
	databaseAccess string
	//go:embed database/passwd
	databasePasswd string
)

// DatabaseConfig returns the data of the embedded database's ConfigMap.
func DatabaseConfig() map[string]string {
	return map[string]string{
		"start.sh":        databaseStart,
		"ready.sh":        databaseReady,
		"postgresql.conf": databaseSettings,
		"pg_hba.conf":     databaseAccess,
		"passwd":          databasePasswd,
	}
}

// DatabaseConfigMap returns the embedded database's ConfigMap.
func DatabaseConfigMap(s *v1alpha1.AcmeServer) *corev1ac.ConfigMapApplyConfiguration {
	return corev1ac.ConfigMap(DatabaseName(s), s.Namespace).
		WithLabels(database.labels(s)).WithOwnerReferences(owner(s)).
		WithData(DatabaseConfig())
}

// DatabaseService returns the Service that the embedded database is reached by.
func DatabaseService(s *v1alpha1.AcmeServer) *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(DatabaseName(s), s.Namespace).
		WithLabels(database.labels(s)).WithOwnerReferences(owner(s)).
		WithSpec(corev1ac.ServiceSpec().
			WithType(corev1.ServiceTypeClusterIP).
			WithSelector(database.selector(s)).
			WithPorts(corev1ac.ServicePort().WithName("postgresql").WithProtocol(corev1.ProtocolTCP).
				WithPort(databasePort).WithTargetPort(intstr.FromString("postgresql"))))
}

// DatabaseStatefulSet returns the StatefulSet of the embedded database. The pod
// is made anew when the digest changes, which is that of its Secrets.
func DatabaseStatefulSet(s *v1alpha1.AcmeServer, p Platform, digest string) (*appsv1ac.StatefulSetApplyConfiguration, error) {
	pod, err := databasePod(s, p)
	if err != nil {
		return nil, err
	}
	whenDeleted := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	if !Kept(s) {
		whenDeleted = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	return appsv1ac.StatefulSet(DatabaseName(s), s.Namespace).
		WithLabels(database.labels(s)).WithOwnerReferences(owner(s)).
		WithSpec(appsv1ac.StatefulSetSpec().
			WithReplicas(1).
			WithServiceName(DatabaseName(s)).
			WithRevisionHistoryLimit(3).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(database.selector(s))).
			WithPersistentVolumeClaimRetentionPolicy(appsv1ac.StatefulSetPersistentVolumeClaimRetentionPolicy().
				WithWhenDeleted(whenDeleted).
				WithWhenScaled(appsv1.RetainPersistentVolumeClaimRetentionPolicyType)).
			WithVolumeClaimTemplates(databaseClaim(s)).
			WithTemplate(corev1ac.PodTemplateSpec().
				WithLabels(database.labels(s)).
				WithAnnotations(map[string]string{annotationDigest: digest}).
				WithSpec(pod))), nil
}

// databaseClaim returns the claim of the database's volume. It has no labels of
// ours that could change: a StatefulSet's claims are immutable. It has no kind
// either, which inside of a StatefulSet is not kept.
func databaseClaim(s *v1alpha1.AcmeServer) *corev1ac.PersistentVolumeClaimApplyConfiguration {
	size := resource.MustParse("1Gi")
	spec := corev1ac.PersistentVolumeClaimSpec().
		WithAccessModes(corev1.ReadWriteOnce).
		WithVolumeMode(corev1.PersistentVolumeFilesystem)
	if e := s.Spec.Database.Embedded; e != nil {
		if e.Storage != nil {
			size = *e.Storage
		}
		if e.StorageClassName != nil {
			spec.WithStorageClassName(*e.StorageClassName)
		}
	}
	spec.WithResources(corev1ac.VolumeResourceRequirements().
		WithRequests(corev1.ResourceList{corev1.ResourceStorage: size}))
	claim := corev1ac.PersistentVolumeClaim(databaseVolume, "").WithSpec(spec)
	claim.APIVersion, claim.Kind, claim.Namespace = nil, nil, nil
	return claim
}

// databasePod returns the spec of the database's pod.
func databasePod(s *v1alpha1.AcmeServer, p Platform) (*corev1ac.PodSpecApplyConfiguration, error) {
	container, err := databaseContainer(s, p)
	if err != nil {
		return nil, err
	}
	pullSecrets, err := convertEach[corev1ac.LocalObjectReferenceApplyConfiguration](s.Spec.Pod.ImagePullSecrets)
	if err != nil {
		return nil, err
	}
	secret := func(volume, name string, keys ...string) *corev1ac.VolumeApplyConfiguration {
		source := corev1ac.SecretVolumeSource().WithSecretName(name).WithDefaultMode(0o440)
		for _, key := range keys {
			source.WithItems(corev1ac.KeyToPath().WithKey(key).WithPath(key))
		}
		return corev1ac.Volume().WithName(volume).WithSecret(source)
	}
	return corev1ac.PodSpec().
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithSecurityContext(podSecurity(databaseUser)).
		WithTerminationGracePeriodSeconds(60).
		WithImagePullSecrets(pullSecrets...).
		WithContainers(container).
		WithVolumes(
			corev1ac.Volume().WithName("config").WithConfigMap(corev1ac.ConfigMapVolumeSource().
				WithName(DatabaseName(s)).WithDefaultMode(0o444)),
			secret("password", DatabaseName(s), "password"),
			// PostgreSQL takes a key that its group may read if root owns it.
			secret("tls", DatabaseTLSName(s), corev1.TLSCertKey, corev1.TLSPrivateKeyKey),
			scratch("run"), scratch("tmp"),
			corev1ac.Volume().WithName("shared-memory").WithEmptyDir(corev1ac.EmptyDirVolumeSource().
				WithMedium(corev1.StorageMediumMemory).WithSizeLimit(resource.MustParse("128Mi"))),
		), nil
}

// scratch returns a volume that lives and dies with the pod.
func scratch(name string) *corev1ac.VolumeApplyConfiguration {
	return corev1ac.Volume().WithName(name).WithEmptyDir(corev1ac.EmptyDirVolumeSource().
		WithSizeLimit(resource.MustParse("64Mi")))
}

// mount returns a mount that is only read.
func mount(volume, path string) *corev1ac.VolumeMountApplyConfiguration {
	return corev1ac.VolumeMount().WithName(volume).WithMountPath(path).WithReadOnly(true)
}

// databaseContainer returns the database's container.
func databaseContainer(s *v1alpha1.AcmeServer, p Platform) (*corev1ac.ContainerApplyConfiguration, error) {
	image := p.DatabaseImage
	resources := &corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("256Mi"),
	}}
	if e := s.Spec.Database.Embedded; e != nil {
		if e.Image != "" {
			image = e.Image
		}
		if e.Resources != nil {
			resources = e.Resources
		}
	}
	converted, err := convert[corev1ac.ResourceRequirementsApplyConfiguration](resources)
	if err != nil {
		return nil, err
	}
	listening := corev1ac.TCPSocketAction().WithPort(intstr.FromString("postgresql"))
	return corev1ac.Container().
		WithName("postgresql").WithImage(image).WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand("/bin/sh", databaseConfigPath+"/start.sh").
		WithEnv(corev1ac.EnvVar().WithName("HOME").WithValue("/tmp")).
		WithPorts(corev1ac.ContainerPort().WithName("postgresql").WithContainerPort(databasePort).WithProtocol(corev1.ProtocolTCP)).
		WithResources(converted).
		WithSecurityContext(containerSecurity()).
		// An empty volume is filled, or a crash recovered from, within ten minutes.
		WithStartupProbe(corev1ac.Probe().WithTCPSocket(listening).WithPeriodSeconds(1).WithFailureThreshold(600)).
		WithReadinessProbe(corev1ac.Probe().WithExec(corev1ac.ExecAction().WithCommand("/bin/sh", databaseConfigPath+"/ready.sh")).
			WithPeriodSeconds(2).WithTimeoutSeconds(5)).
		WithLivenessProbe(corev1ac.Probe().WithTCPSocket(listening).WithPeriodSeconds(10).WithTimeoutSeconds(5).WithFailureThreshold(6)).
		// SIGTERM would let PostgreSQL wait for its clients; SIGINT ends their sessions.
		WithLifecycle(corev1ac.Lifecycle().WithPreStop(corev1ac.LifecycleHandler().
			WithExec(corev1ac.ExecAction().WithCommand("/bin/sh", "-c", "kill -INT 1")))).
		WithVolumeMounts(
			corev1ac.VolumeMount().WithName(databaseVolume).WithMountPath(databaseVolumePath),
			mount("config", databaseConfigPath),
			// initdb wants its uid to have a name, which differs between images.
			mount("config", "/etc/passwd").WithSubPath("passwd"),
			mount("password", databasePasswordPath),
			mount("tls", databaseTLSPath),
			corev1ac.VolumeMount().WithName("run").WithMountPath("/var/run/postgresql"),
			corev1ac.VolumeMount().WithName("tmp").WithMountPath("/tmp"),
			corev1ac.VolumeMount().WithName("shared-memory").WithMountPath("/dev/shm"),
		), nil
}
