package controllers_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

// busySpec sets the fields that Kubernetes adds defaults to.
func busySpec() v1alpha1.AcmeServerSpec {
	return v1alpha1.AcmeServerSpec{
		Replicas:  new(int32(2)),
		Hostnames: []string{"acme.corp.example"},
		Service:   v1alpha1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Annotations: map[string]string{"a": "b"}},
		Pod: v1alpha1.PodSpec{
			Labels: map[string]string{"team": "pki"}, NodeSelector: map[string]string{"kubernetes.io/os": "linux"},
			Tolerations:               []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}},
			TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule}},
			ImagePullSecrets:          []corev1.LocalObjectReference{{Name: "registry"}},
		},
		NetworkPolicy: v1alpha1.NetworkPolicySpec{},
	}
}

func TestSamplesAreAccepted(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../config/samples/acme*.yaml")
	check(t, err)
	if len(paths) == 0 {
		t.Fatal("there are no samples")
	}
	namespace := shared.namespace(t)
	for _, path := range paths {
		data, err := os.ReadFile(path) //nolint:gosec // a file of the repository
		check(t, err)
		sample := &unstructured.Unstructured{}
		check(t, yaml.Unmarshal(data, sample))
		sample.SetNamespace(namespace)
		strict := client.WithFieldValidation(shared.Client, metav1.FieldValidationStrict)
		if err := strict.Create(t.Context(), sample, client.DryRunAll); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWrongFieldsAreRefusedWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	namespace := shared.namespace(t)
	var report strings.Builder
	for _, test := range []struct{ name, server, spec string }{
		{"two databases", "internal", `{database: {secretRef: {name: db}, embedded: {}}}`},
		{"roots of an embedded database", "internal", `{database: {rootCAsRef: {name: db}}}`},
		{"a schema of Postgres itself", "internal", `{database: {schema: pg_acme}}`},
		{"two authorities", "internal", `{ca: {selfSigned: {}, secretRef: {name: ca}}}`},
		{"an authority of yours that cert-manager issues", "internal", `{ca: {secretRef: {name: ca}, certManager: {issuerRef: {name: company}}}}`},
		{"an issuer without a name", "internal", `{ca: {certManager: {issuerRef: {kind: ClusterIssuer}}}}`},
		{"an authority that is issued for an hour", "internal", `{ca: {certManager: {issuerRef: {name: company}, lifetime: 1h}}}`},
		{"an intermediate that outlives its root", "internal", `{ca: {selfSigned: {rootLifetime: 1000h, intermediateLifetime: 2000h}}}`},
		{"a key algorithm that is not known", "internal", `{ca: {selfSigned: {keyAlgorithm: RSA-1024}}}`},
		{"a mode that is not known", "internal", `{validation: {mode: Never}}`},
		{"no challenge at all", "internal", `{validation: {challenges: []}}`},
		{"a network that is none", "internal", `{validation: {networks: {allow: [10.0.0.0]}}}`},
		{"a network with bits behind its prefix", "internal", `{validation: {networks: {deny: [10.0.0.1/8]}}}`},
		{"a resolver with a scheme", "internal", `{validation: {dns: {resolvers: ["udp://10.0.0.1"]}}}`},
		{"a challenge that is not known", "internal", `{validation: {challenges: [dns-02]}}`},
		{"dns-persist-01 without a name of the authority", "internal", `{validation: {challenges: [dns-persist-01]}, directory: {website: "https://pki.example"}}`},
		{"a name with a capital", "internal", `{identifiers: {dns: {allow: [Corp.example]}}}`},
		{"a wildcard in the middle of a name", "internal", `{identifiers: {dns: {deny: ["a.*.example"]}}}`},
		{"a network of addresses that is none", "internal", `{identifiers: {ip: {allow: [10.0.0.1]}}}`},
		{"names without labels", "internal", `{identifiers: {maxLabels: 0}}`},
		{"more identifiers than a certificate may have", "internal", `{maxIdentifiers: 1001}`},
		{"traffic from outside of what is inside", "internal", `{service: {externalTrafficPolicy: Local}}`},
		{"external accounts that nobody has", "internal", `{externalAccounts: {required: true}, clusterIssuer: {enabled: false}}`},
		{"terms that are no URL", "internal", `{directory: {termsOfService: terms.txt}}`},
		{"a website by mail", "internal", `{directory: {website: "mailto:pki@corp.example"}}`},
		{"a CAA identity with a scheme", "internal", `{directory: {caaIdentities: ["https://ca.example"]}}`},
		{"a CAA identity twice", "internal", `{directory: {caaIdentities: [ca.example, ca.example]}}`},
		{"an authorization that is used for a year", "internal", `{lifetimes: {authorizationReuse: 8760h}}`},
		{"an order of a second", "internal", `{lifetimes: {order: 1s}}`},
		{"a lint that is not known", "internal", `{ca: {lint: Sometimes}}`},
		{"two default profiles", "internal", `{profiles: [{name: a, lifetime: 1h, default: true}, {name: b, lifetime: 1h, default: true}]}`},
		{"a profile's name", "internal", `{profiles: [{name: "A b", lifetime: 1h}]}`},
		{"a lifetime of a minute", "internal", `{profiles: [{name: a, lifetime: 1m}]}`},
		{"a host name with a scheme", "internal", `{hostnames: ["https://acme.example"]}`},
		{"fewer than no replicas", "internal", `{replicas: -1}`},
		{"a field that is not known", "internal", `{replica: 1}`},
		{"a name that begins with a digit", "1internal", `{}`},
		{"a name that is too long", strings.Repeat("a", 41), `{}`},
	} {
		err := create(t, "AcmeServer", namespace, test.server, test.spec)
		if err == nil {
			t.Errorf("%s is accepted", test.name)
			continue
		}
		fmt.Fprintf(&report, "# %s\n%s\n\n", test.name, err)
	}
	golden(t, "refusals.txt", report.String())
}

func TestWhatWouldLoseDataCannotBeChanged(t *testing.T) {
	t.Parallel()
	namespace := shared.namespace(t)
	check(t, create(t, "AcmeServer", namespace, "internal", `{ca: {selfSigned: {commonName: One}}, database: {embedded: {storage: 1Gi}}}`))
	check(t, create(t, "AcmeServer", namespace, "issued", `{ca: {certManager: {issuerRef: {name: company}, commonName: One}}}`))
	var report strings.Builder
	for _, test := range []struct{ name, patch string }{
		{"the schema", `{"spec":{"database":{"schema":"other"}}}`},
		{"the size of the volume", `{"spec":{"database":{"embedded":{"storage":"2Gi"}}}}`},
		{"the storage class", `{"spec":{"database":{"embedded":{"storageClassName":"fast"}}}}`},
		{"the authority's name", `{"spec":{"ca":{"selfSigned":{"commonName":"Two"}}}}`},
		{"the authority's organization", `{"spec":{"ca":{"selfSigned":{"organization":"Two"}}}}`},
		{"the keys", `{"spec":{"ca":{"selfSigned":{"keyAlgorithm":"RSA-4096"}}}}`},
		{"the root's lifetime", `{"spec":{"ca":{"selfSigned":{"rootLifetime":"9000h"}}}}`},
		{"the name of an authority that cert-manager issues", `{"spec":{"ca":{"certManager":{"commonName":"Two"}}}}`},
		{"that it has one", `{"spec":{"ca":{"certManager":{"commonName":null}}}}`},
		{"its key", `{"spec":{"ca":{"certManager":{"keyAlgorithm":"RSA-4096"}}}}`},
	} {
		server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: namespace}}
		if strings.Contains(test.patch, "certManager") {
			server.Name = "issued"
		}
		err := shared.Patch(t.Context(), server, client.RawPatch("application/merge-patch+json", []byte(test.patch)))
		if err == nil {
			t.Errorf("%s can be changed", test.name)
			continue
		}
		fmt.Fprintf(&report, "# %s\n%s\n\n", test.name, err)
	}
	golden(t, "immutable.txt", report.String())
}

// create makes an object of a kind of ours out of YAML, strictly.
func create(t *testing.T, kind, namespace, name, spec string) error {
	t.Helper()
	var fields map[string]any
	check(t, yaml.Unmarshal([]byte(spec), &fields))
	object := &unstructured.Unstructured{Object: map[string]any{"spec": fields}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	object.SetNamespace(namespace)
	object.SetName(name)
	return client.WithFieldValidation(shared.Client, metav1.FieldValidationStrict).Create(t.Context(), object)
}

func TestEveryConditionOfAServerIsListed(t *testing.T) {
	t.Parallel()
	server := shared.ready(t, v1alpha1.AcmeServerSpec{})
	shared.condition(t, server, v1alpha1.ConditionGarbageCollected, metav1.ConditionTrue, v1alpha1.ReasonCollected)
	shared.condition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, metav1.ConditionTrue, v1alpha1.ReasonEnforced)
	want := append(slices.Clone(v1alpha1.ServerConditions),
		v1alpha1.ConditionReady, v1alpha1.ConditionIssuanceRestricted, v1alpha1.ConditionGarbageCollected,
		v1alpha1.ConditionRateLimitPolicyEnforced)
	var got []string
	for _, condition := range server.Status.Conditions {
		got = append(got, condition.Type)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the conditions (-want +got):\n%s", diff)
	}
}

// uninstallCertManager deletes cert-manager's CRDs, and every object with them.
func (c *cluster) uninstallCertManager(t *testing.T) {
	t.Helper()
	for _, name := range []string{"clusterissuers.cert-manager.io", "certificates.cert-manager.io"} {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
		check(t, c.Delete(t.Context(), crd))
		gone(t, c, &v1alpha1.AcmeServer{}, crd.Name, crd)
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
