// Package chart tests the Helm chart with Helm itself. It is a module of its own, so that nobody else has to download
// Helm.
package chart

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden file")

// object is a manifest.
type object map[string]any

// key names an object.
func (o object) key() string {
	metadata, _ := o["metadata"].(map[string]any)
	kind, _ := o["kind"].(string)
	name, _ := metadata["name"].(string)
	return kind + " " + name
}

// TestMain has helm built once, before several tests have it built at the same time.
func TestMain(m *testing.M) {
	if text, err := exec.Command("go", "tool", "helm", "version").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go tool helm version: %v: %s", err, text)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// run runs a program and returns what it prints.
func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	var stdout, stderr strings.Builder
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		return stderr.String(), err
	}
	return stdout.String(), nil
}

// helm renders the chart as a release would be installed.
func helm(t *testing.T, args ...string) map[string]object {
	t.Helper()
	text, err := run(t, ".", append([]string{"tool", "helm", "template", "acme-ca-operator", "../../charts/acme-ca-operator"}, args...)...)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return objects(t, text)
}

// objects reads manifests.
func objects(t *testing.T, text string) map[string]object {
	t.Helper()
	all := map[string]object{}
	for manifest := range strings.SplitSeq(text, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(manifest), &o); err != nil {
			t.Fatalf("%v in\n%s", err, manifest)
		}
		if o != nil {
			all[o.key()] = o
		}
	}
	return all
}

func TestTheChartInstallsWhatKustomizeDoes(t *testing.T) {
	t.Parallel()
	text, err := run(t, "../..", "tool", "-modfile=hack/tools/go.mod", "kustomize", "build", "config/default")
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	want, got := objects(t, text), helm(t, "--namespace", "acme-ca-system")
	delete(want, "Namespace acme-ca-system")
	for key, o := range got {
		if strings.HasPrefix(key, "CustomResourceDefinition ") {
			annotations, _ := o["metadata"].(map[string]any)["annotations"].(map[string]any)
			if annotations["helm.sh/resource-policy"] != "keep" {
				t.Errorf("helm uninstall deletes %s, and every object of it", key)
			}
			delete(annotations, "helm.sh/resource-policy")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kustomize and Helm differ (-kustomize +Helm):\n%s", diff)
	}
}

func TestValuesAreFollowed(t *testing.T) {
	t.Parallel()
	got := helm(t, "--namespace", "elsewhere", "--values", "testdata/values.yaml")
	for key, o := range got {
		metadata, _ := o["metadata"].(map[string]any)
		if namespace, ok := metadata["namespace"]; ok && namespace != "elsewhere" {
			t.Errorf("%s is in the namespace %s, not in that of the release", key, namespace)
		}
		if strings.HasPrefix(key, "CustomResourceDefinition ") {
			t.Errorf("%s is installed, although crds.install is false", key)
		}
	}
	for _, key := range []string{"PrometheusRule acme-ca", "PodMonitor acme-ca-servers", "ServiceMonitor acme-ca-operator", "ConfigMap acme-ca-dashboard"} {
		if got[key] == nil {
			t.Errorf("there is no %s", key)
		}
	}
	alerts, err := yaml.Marshal(got["PrometheusRule acme-ca"])
	if err != nil || !strings.Contains(string(alerts), "{{ $labels.namespace }}/{{ $labels.name }} is not Ready") {
		t.Errorf("what Prometheus is to fill in did not pass through Helm (%v):\n%s", err, alerts)
	}
	deployment, err := yaml.Marshal(got["Deployment acme-ca-operator"])
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "deployment.yaml")
	if *update {
		if err := os.WriteFile(golden, deployment, 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(deployment)); diff != "" {
		t.Errorf("%s (run with -update if that is meant) (-want +got):\n%s", golden, diff)
	}
}

func TestWrongValuesAreRefusedWithTheirNames(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"replica=2":                        "replica",
		"replicas=many":                    "/replicas",
		"image.pullPolicy=Sometimes":       "/image/pullPolicy",
		"watchNamespaces={a,B}":            "/watchNamespaces/1",
		"prometheus.serviceMonitor=true":   "serviceMonitor",
		"clusterIssuerNamespaces={pki,**}": "/clusterIssuerNamespaces/1",
	} {
		text, err := run(t, ".", "tool", "helm", "template", "x", "../../charts/acme-ca-operator", "--set", set)
		if err == nil || !strings.Contains(text, want) {
			t.Errorf("--set %s: error %v, without %q: %s", set, err, want, text)
		}
	}
}

func TestHelmFindsNoFault(t *testing.T) {
	t.Parallel()
	if text, err := run(t, ".", "tool", "helm", "lint", "--strict", "../../charts/acme-ca-operator"); err != nil {
		t.Errorf("%v: %s", err, text)
	}
}
