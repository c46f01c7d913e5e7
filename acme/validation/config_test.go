package validation

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestConfigurationsThatCannotWork(t *testing.T) {
	t.Parallel()
	right := Config{Queue: new(memoryQueue), Resolvers: []string{"192.0.2.1"}}
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no queue":                     {func(c *Config) { c.Queue = nil }, "queue"},
		"an attempt beyond the lease":  {func(c *Config) { c.Timeout = Lease }, "timeout"},
		"less than one at once":        {func(c *Config) { c.Concurrency = -1 }, "concurrency"},
		"a port that is none":          {func(c *Config) { c.HTTP01Port = 70000 }, "ports"},
		"a negative port":              {func(c *Config) { c.TLSALPN01Port = -1 }, "ports"},
		"a registerer that has it all": {func(c *Config) { c.Registerer = registered(t) }, "metrics"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := right
			test.change(&config)
			if _, err := New(config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
	if _, err := New(right); err != nil {
		t.Error(err)
	}
}

// registered returns a registry that has the metrics.
func registered(t *testing.T) prometheus.Registerer {
	t.Helper()
	registry := prometheus.NewRegistry()
	if _, err := newMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := newMetrics(registry); !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		t.Fatalf("registered twice: %v", err)
	}
	return registry
}
