package render_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

var update = flag.Bool("update", false, "write the golden files")

// platform is what the operator of these tests was started with.
func platform() render.Platform {
	return render.Platform{
		ServerImage: "acme-ca-operator:test", DatabaseImage: "postgres:test", ClusterDomain: "cluster.local",
		OperatorNamespace: "acme-ca-system", CertManagerNamespace: "cert-manager", APIServer: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
	}
}

// minimal is `spec: {}` as the API server defaults it.
func minimal() *v1alpha1.AcmeServer {
	return &v1alpha1.AcmeServer{
		ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: "pki", UID: "0b7f34dc-9a3c-4f0b-a6c6-7b5f2ac7d6f6"},
		Spec: v1alpha1.AcmeServerSpec{
			Replicas:       new(int32(1)),
			Database:       v1alpha1.DatabaseSpec{Schema: "acme"},
			Validation:     v1alpha1.ValidationSpec{Mode: v1alpha1.ValidationChallenge},
			ClusterIssuer:  v1alpha1.ClusterIssuerSpec{Enabled: new(true)},
			Service:        v1alpha1.ServiceSpec{Type: corev1.ServiceTypeClusterIP},
			NetworkPolicy:  v1alpha1.NetworkPolicySpec{Enabled: new(true)},
			DeletionPolicy: v1alpha1.DeletionRetain,
		},
	}
}

// full has every field.
func full() *v1alpha1.AcmeServer {
	s := minimal()
	size := resource.MustParse("5Gi")
	s.Spec = v1alpha1.AcmeServerSpec{
		Replicas: new(int32(3)),
		Image:    "registry.example/acmeserver:1",
		Database: v1alpha1.DatabaseSpec{Schema: "internal", Embedded: &v1alpha1.EmbeddedDatabase{
			Storage: &size, StorageClassName: new("fast"), Image: "registry.example/postgres:18",
			Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}},
		}},
		Validation: v1alpha1.ValidationSpec{
			Mode: v1alpha1.ValidationTrusted, Challenges: []v1alpha1.ChallengeType{"dns-01", "dns-persist-01"},
			DNS:      &v1alpha1.DNSSpec{Resolvers: []string{"10.96.0.10"}},
			Networks: &v1alpha1.NetworksSpec{Allow: []v1alpha1.CIDR{"10.96.0.1/32"}, Deny: []v1alpha1.CIDR{"10.0.0.0/8"}},
		},
		Profiles: []v1alpha1.Profile{{
			Name: "mesh", Description: "both ends of mutual TLS", Default: true,
			Lifetime: metav1.Duration{Duration: 24 * time.Hour}, Usages: []v1alpha1.ExtendedKeyUsage{"serverAuth", "clientAuth"},
			CommonName: true, KeyEncipherment: true,
		}},
		ClusterIssuer: v1alpha1.ClusterIssuerSpec{
			Enabled: new(true), Name: "corp", Email: "pki@corp.example", Profile: "mesh",
			Solvers: []v1alpha1.Solver{{RawExtension: runtime.RawExtension{
				Raw: []byte(`{"http01":{"ingress":{"ingressClassName":"traefik"}},"fieldOfTomorrow":1}`),
			}}},
		},
		Identifiers: &v1alpha1.IdentifiersSpec{
			DNS:       &v1alpha1.NamesSpec{Allow: []v1alpha1.NamePattern{"*.corp.example"}, Deny: []v1alpha1.NamePattern{"secret.corp.example"}},
			IP:        &v1alpha1.AddressesSpec{Allow: []v1alpha1.CIDR{"10.0.0.0/8"}, Deny: []v1alpha1.CIDR{"10.0.0.1/32"}},
			MaxLabels: 6, MaxRepeats: 1,
		},
		MaxIdentifiers:   25,
		ExternalAccounts: &v1alpha1.ExternalAccountsSpec{Required: true, SecretRef: &v1alpha1.SecretReference{Name: "tenants"}},
		Directory: &v1alpha1.DirectorySpec{
			TermsOfService: "https://pki.corp.example/terms", Website: "https://pki.corp.example", RateLimits: "https://pki.corp.example/limits",
			CAAIdentities: []string{"ca.corp.example"},
		},
		Lifetimes: &v1alpha1.LifetimesSpec{
			Order: &metav1.Duration{Duration: 24 * time.Hour}, AuthorizationReuse: &metav1.Duration{Duration: time.Hour},
		},
		CA: v1alpha1.CertificateAuthoritySpec{Lint: "Enforce", AlternateChainsRef: &v1alpha1.AlternateChainsReference{
			SecretReference: v1alpha1.SecretReference{Name: "cross-signed"}, Key: "company.pem",
		}},
		Hostnames: []string{"acme.corp.example", "acme.example"},
		Service: v1alpha1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Annotations: map[string]string{"lb.example/internal": "true"},
		},
		Pod: v1alpha1.PodSpec{
			Labels:       map[string]string{"team": "pki", "app.kubernetes.io/name": "cannot be changed"},
			Annotations:  map[string]string{"note": "yes"},
			Resources:    &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")}},
			NodeSelector: map[string]string{"kubernetes.io/arch": "amd64"},
			Tolerations:  []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}},
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "pool", Operator: corev1.NodeSelectorOpIn, Values: []string{"pki"}}},
				}}},
			}},
			PriorityClassName: "system-cluster-critical",
			ImagePullSecrets:  []corev1.LocalObjectReference{{Name: "registry"}},
		},
		NetworkPolicy: v1alpha1.NetworkPolicySpec{
			Enabled:     new(true),
			MetricsFrom: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "watch"}}}},
		},
		DeletionPolicy: v1alpha1.DeletionDelete,
	}
	return s
}

// external has a database and an authority of the user's.
func external() *v1alpha1.AcmeServer {
	s := minimal()
	s.Spec.Database.SecretRef = &v1alpha1.DatabaseSecretReference{SecretReference: v1alpha1.SecretReference{Name: "acme-db-app"}, Key: "uri"}
	s.Spec.Database.RootCAsRef = &v1alpha1.RootCAsReference{SecretReference: v1alpha1.SecretReference{Name: "acme-db-ca"}, Key: "ca.crt"}
	s.Spec.CA.SecretRef = &v1alpha1.SecretReference{Name: "corporate-ca"}
	s.Spec.NetworkPolicy.Enabled = new(false)
	return s
}

func TestObjectsAreAsTheGoldenFilesShow(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]*v1alpha1.AcmeServer{"minimal": minimal(), "full": full(), "external": external()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name+".yaml", documents(t, server))
		})
	}
}

// documents returns every object of an AcmeServer, in YAML.
func documents(t *testing.T, s *v1alpha1.AcmeServer) string {
	t.Helper()
	config, err := render.Config(s, platform())
	check(t, err)
	deployment, err := render.Deployment(s, platform(), "digest")
	check(t, err)
	policy, err := render.NetworkPolicy(s)
	check(t, err)
	issuer, err := render.ClusterIssuer(s, []byte("roots"))
	check(t, err)
	pair := render.KeyPair{Certificate: []byte("certificate"), Key: []byte("key"), Roots: []byte("roots")}
	var objects []any
	if s.Spec.CA.SecretRef == nil {
		objects = append(objects, render.RootSecret(s, pair), render.AuthoritySecret(s, pair))
	}
	if s.Spec.Database.SecretRef == nil {
		set, err := render.DatabaseStatefulSet(s, platform(), "digest")
		check(t, err)
		objects = append(objects, render.DatabaseTLSSecret(s, pair),
			render.DatabaseConnectionSecret(s, "a/password@", []byte("roots")),
			render.DatabaseService(s), set)
		if p := render.DatabaseNetworkPolicy(s, platform()); p != nil {
			objects = append(objects, p)
		}
	}
	if render.BindsClusterIssuer(s) {
		key := render.ExternalAccountSecret(s)
		key.Data = map[string][]byte{render.ClusterIssuerKeyID: []byte("key")}
		objects = append(objects, key, render.BindingSecret(s, platform(), []byte("key")))
	}
	objects = append(objects, render.ServiceAccount(s), render.ConfigMap(s, config), render.Service(s), deployment)
	if b := render.PodDisruptionBudget(s); b != nil {
		objects = append(objects, b)
	}
	if policy != nil {
		objects = append(objects, policy)
	}
	objects = append(objects, issuer)
	var out []string
	for _, o := range objects {
		data, err := yaml.Marshal(o)
		check(t, err)
		out = append(out, string(data))
	}
	return strings.Join(out, "---\n")
}

func TestRootKeyIsNotInAPod(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]*v1alpha1.AcmeServer{"minimal": minimal(), "full": full()} {
		deployment, err := render.Deployment(server, platform(), "digest")
		check(t, err)
		set, err := render.DatabaseStatefulSet(server, platform(), "digest")
		check(t, err)
		for _, object := range []any{deployment, set} {
			data, err := yaml.Marshal(object)
			check(t, err)
			if strings.Contains(string(data), render.RootSecretName(server)) {
				t.Errorf("%s: a pod mounts the root's Secret:\n%s", name, data)
			}
		}
	}
}

func TestDigestChangesWithEveryByteThatAPodReads(t *testing.T) {
	t.Parallel()
	secret := func(data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: data}
	}
	base := render.Digest(map[string]string{"a": "bc"}, secret(map[string][]byte{"k": []byte("v")}))
	if again := render.Digest(map[string]string{"a": "bc"}, secret(map[string][]byte{"k": []byte("v")})); again != base {
		t.Errorf("the same data give %s and %s", base, again)
	}
	for name, other := range map[string]string{
		"a value of the configuration":   render.Digest(map[string]string{"a": "bd"}, secret(map[string][]byte{"k": []byte("v")})),
		"the border of a key and value":  render.Digest(map[string]string{"ab": "c"}, secret(map[string][]byte{"k": []byte("v")})),
		"a value of a Secret":            render.Digest(map[string]string{"a": "bc"}, secret(map[string][]byte{"k": []byte("w")})),
		"a key of a Secret":              render.Digest(map[string]string{"a": "bc"}, secret(map[string][]byte{"l": []byte("v")})),
		"a Secret that was not there":    render.Digest(map[string]string{"a": "bc"}),
		"a second Secret":                render.Digest(map[string]string{"a": "bc"}, secret(map[string][]byte{"k": []byte("v")}), secret(nil)),
		"metadata of a Secret, its name": render.Digest(map[string]string{"a": "bc"}, &corev1.Secret{Data: map[string][]byte{"k": []byte("v")}}),
	} {
		if other == base {
			t.Errorf("the digest does not change with %s", name)
		}
	}
}

func TestConfigRefusesWhatTheServersWouldRefuse(t *testing.T) {
	t.Parallel()
	s := minimal()
	s.Spec.Hostnames = []string{"not a host"}
	_, err := render.Config(s, platform())
	if err == nil || !strings.Contains(err.Error(), "urls[0]") {
		t.Errorf("the error is %v, and should name urls[0]", err)
	}
}

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		check(t, os.WriteFile(path, []byte(got), 0o644)) //nolint:gosec // a file of the repository
	}
	want, err := os.ReadFile(path) //nolint:gosec // a file of the repository
	check(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run with -update if that is meant) (-want +got):\n%s", path, diff)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The page lists every limit, with what is built in.
func TestThePageOfLimitsHasThemAll(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/ratelimits.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range render.RateLimits(&acme.RateLimitPolicy{}) {
		if row := "| `" + name + "` | " + text + " |"; !strings.Contains(string(page), row) {
			t.Errorf("docs/ratelimits.md has no row %q", row)
		}
	}
}
