// Command chart generates the templates of charts/acme-ca-operator from config/, so that
// what Helm installs by default is what kustomize does. Run it at the root of the
// repository. What is replaced by a value must be there once: a change of config/ that
// the chart does not follow is an error.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const chart = "charts/acme-ca-operator"

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// replacement is a part of a manifest and what the template has instead.
type replacement struct{ manifest, template string }

// operator lists what a user may choose of the operator.
var operator = []replacement{
	{"  replicas: 1\n", "  replicas: {{ .Values.replicas }}\n"},
	{
		"        - --health-probe-bind-address=:8081\n",
		`        - --health-probe-bind-address=:8081
        {{- with .Values.watchNamespaces }}
        - --watch-namespaces={{ join "," . }}
        {{- end }}
        {{- with .Values.clusterIssuerNamespaces }}
        - --cluster-issuer-namespaces={{ join "," . }}
        {{- end }}
        {{- with .Values.certManagerNamespace }}
        - --cert-manager-namespace={{ . }}
        {{- end }}
        {{- with .Values.clusterDomain }}
        - --cluster-domain={{ . }}
        {{- end }}
        {{- with .Values.serverImage }}
        - --server-image={{ . }}
        {{- end }}
        {{- with .Values.logLevel }}
        - --log-level={{ . }}
        {{- end }}
`,
	},
	{
		"        - name: GOMEMLIMIT\n          value: 230MiB\n",
		"        - name: GOMEMLIMIT\n          value: {{ .Values.goMemoryLimit | quote }}\n",
	},
	{"          value: docker.io/library/postgres:18\n", "          value: {{ .Values.databaseImage | quote }}\n"},
	{
		"        image: acme-ca-operator:latest\n        imagePullPolicy: IfNotPresent\n",
		"        image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\n        imagePullPolicy: {{ .Values.image.pullPolicy }}\n",
	},
	{
		"        resources:\n          limits:\n            memory: 256Mi\n          requests:\n            cpu: 20m\n            memory: 64Mi\n",
		"        resources:\n          {{- toYaml .Values.resources | nindent 10 }}\n",
	},
	{
		"      serviceAccountName: acme-ca-operator\n",
		`      serviceAccountName: acme-ca-operator
      {{- range $field := list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" }}
      {{- with get $.Values $field }}
      {{ $field }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
`,
	},
}

// namespace is that of config/, instead of which a release has its own.
const namespace = "namespace: acme-ca-system\n"

// generate writes the generated files of the chart.
func generate() error {
	all, err := build("config/default")
	if err != nil {
		return err
	}
	var crds, others []string
	for object := range strings.SplitSeq(all, "---\n") {
		switch {
		case strings.Contains(object, "\nkind: CustomResourceDefinition\n"):
			crds = append(crds, object)
		case !strings.Contains(object, "\nkind: Namespace\n"): // Helm makes it, or the user has
			others = append(others, object)
		}
	}
	definitions, err := replaced(escaped(strings.Join(crds, "---\n")), len(crds), []replacement{{
		// In templates, and not in crds/, which Helm never upgrades.
		"\nmetadata:\n  annotations:\n", "\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n",
	}})
	if err != nil {
		return err
	}
	if err := write("templates/crds.yaml", "crds.install", definitions); err != nil {
		return err
	}
	manifests, err := replaced(escaped(strings.Join(others, "---\n")), 1, operator)
	if err != nil {
		return err
	}
	if err := write("templates/operator.yaml", "", manifests); err != nil {
		return err
	}
	monitoring, err := build("config/prometheus")
	if err != nil {
		return err
	}
	if err := write("templates/prometheus.yaml", "prometheus.enabled", escaped(monitoring)); err != nil {
		return err
	}
	dashboard, err := os.ReadFile("config/grafana/acme-ca.json")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(chart, "files", "acme-ca.json"), dashboard, 0o644) //nolint:gosec // for everybody to read
}

// build returns what kustomize makes of a folder.
func build(folder string) (string, error) {
	cmd := exec.Command("go", "tool", "-modfile=hack/tools/go.mod", "kustomize", "build", folder) //nolint:noctx,gosec // a constant
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kustomize build %s: %w", folder, err)
	}
	return string(out), nil
}

// escaped returns manifests as Helm gives them back.
func escaped(manifests string) string {
	return strings.NewReplacer("{{", `{{ "{{" }}`, "}}", `{{ "}}" }}`).Replace(manifests)
}

// replaced replaces what must be there a number of times.
func replaced(manifests string, times int, all []replacement) (string, error) {
	var errs []error
	for _, r := range all {
		if n := strings.Count(manifests, r.manifest); n != times {
			errs = append(errs, fmt.Errorf("%d times in config/default, and not %d:\n%s", n, times, r.manifest))
		}
		manifests = strings.ReplaceAll(manifests, r.manifest, r.template)
	}
	return manifests, errors.Join(errs...)
}

// write writes a template, of what is only installed where a value says so, if any does.
func write(file, value, manifests string) error {
	text := "{{- /* Generated by hack/chart from config/. */}}\n"
	manifests = strings.ReplaceAll(manifests, namespace, "namespace: {{ .Release.Namespace }}\n")
	if value != "" {
		manifests = "{{- if .Values." + value + " }}\n" + manifests + "{{- end }}\n"
	}
	return os.WriteFile(filepath.Join(chart, file), []byte(text+manifests), 0o644) //nolint:gosec // for everybody to read
}
