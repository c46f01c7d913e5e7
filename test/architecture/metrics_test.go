package architecture

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"sigs.k8s.io/yaml"
)

// What a dashboard asks for and nobody measures is an empty panel, and an alert that never
// comes.
func TestAlertsAndPanelsAskForWhatIsMeasured(t *testing.T) {
	t.Parallel()
	measured := metrics(t)
	asked := map[string]bool{}
	for where, expression := range expressions(t) {
		parsed, err := metricsql.Parse(expression)
		if err != nil {
			t.Errorf("%s: %v in %s", where, err, expression)
			continue
		}
		metricsql.VisitAll(parsed, func(e metricsql.Expr) {
			selector, ok := e.(*metricsql.MetricExpr)
			if !ok {
				return
			}
			for _, filters := range selector.LabelFilterss {
				for _, filter := range filters {
					if filter.Label == "__name__" {
						name := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(filter.Value, "")
						asked[name] = true
						if !slices.Contains(measured, name) {
							t.Errorf("%s asks for %s, which is not measured", where, filter.Value)
						}
					}
				}
			}
		})
	}
	if len(asked) < 10 {
		t.Errorf("only %v are asked for: were the files read?", slices.Sorted(maps.Keys(asked)))
	}
}

func TestEveryMetricIsInTheDocument(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metrics(t) {
		if !regexp.MustCompile("`" + name + "[`{]").Match(document) {
			t.Errorf("docs/operations.md does not tell of %s", name)
		}
	}
}

// metrics lists the names of the metrics in the code.
func metrics(t *testing.T) (names []string) {
	t.Helper()
	named := regexp.MustCompile(`(?:Name:\s+|NewDesc\(|gauge\()"(acme_[a-z_]+)"`)
	for _, dir := range []string{"acme", "controllers", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			code, err := os.ReadFile(path) //nolint:gosec // a file of the repository
			for _, found := range named.FindAllSubmatch(code, -1) {
				names = append(names, string(found[1]))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// expressions returns what is asked of Prometheus, by where it stands. Variables of
// Grafana have a value.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var rules struct {
		Spec struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
	}
	read(t, "config/prometheus/alerts.yaml", func(data []byte) error { return yaml.Unmarshal(data, &rules) })
	for _, group := range rules.Spec.Groups {
		for _, rule := range group.Rules {
			all["alert "+rule.Alert] = rule.Expr
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	read(t, "config/grafana/acme-ca.json", func(data []byte) error { return json.Unmarshal(data, &dashboard) })
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all["panel "+panel.Title+" "+target.RefID] = strings.NewReplacer("$__rate_interval", "5m", "$namespace", "pki").Replace(target.Expr)
		}
	}
	return all
}

// read reads a file of the repository.
func read(t *testing.T, path string, decode func([]byte) error) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err == nil {
		err = decode(data)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
