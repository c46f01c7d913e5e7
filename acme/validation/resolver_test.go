package validation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writeFile returns the path of a new file.
func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNamesAreAbsoluteButForThoseOfTheCluster(t *testing.T) {
	t.Parallel()
	pod := writeFile(t, "search pki.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n")
	host := writeFile(t, "search corp.example svc.corp\nnameserver 192.0.2.1\nnameserver fd00::53\n")
	for name, test := range map[string]struct {
		resolvConf, name, want string
	}{
		"a public name, though it has fewer dots than ndots": {pod, "example.com", "example.com."},
		"a name of one label":                                {pod, "web", "web."},
		"a service":                                          {pod, "web.shop.svc", "web.shop.svc.cluster.local."},
		"the record of a service's challenge":                {pod, "_acme-challenge.web.shop.svc", "_acme-challenge.web.shop.svc.cluster.local."},
		"a service by its whole name":                        {pod, "web.shop.svc.cluster.local", "web.shop.svc.cluster.local."},
		"a service by less than that":                        {pod, "web.shop", "web.shop."},
		"a name that only ends alike":                        {pod, "web.shopsvc", "web.shopsvc."},
		"the domain of services itself":                      {pod, "svc", "svc."},
		"a service, outside of a cluster":                    {host, "web.shop.svc", "web.shop.svc."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := newResolver(nil, test.resolvConf, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.absolute(test.name); got != test.want {
				t.Errorf("%s is looked up as %s, want %s", test.name, got, test.want)
			}
		})
	}
}

func TestResolversAreTheConfiguredOrTheSystems(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "nameserver 192.0.2.1\nnameserver fd00::53\n")
	for name, test := range map[string]struct {
		configured, want []string
	}{
		"the system's": {nil, []string{"192.0.2.1:53", "[fd00::53]:53"}},
		"the configured": {
			[]string{"10.0.0.1", "10.0.0.2:5353", "fd00::1", "[fd00::2]", "[fd00::3]:5353", "dns.example"},
			[]string{"10.0.0.1:53", "10.0.0.2:5353", "[fd00::1]:53", "[fd00::2]:53", "[fd00::3]:5353", "dns.example:53"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := newResolver(test.configured, file, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, r.servers); diff != "" {
				t.Errorf("servers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoResolversIsAnErrorThatNamesTheField(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"no file": "/nonexistent/resolv.conf", "an empty file": writeFile(t, "search x\n")} {
		if _, err := newResolver(nil, file, time.Second); err == nil || !strings.Contains(err.Error(), "validation.resolvers") {
			t.Errorf("%s: error %v does not name validation.resolvers", name, err)
		}
	}
}
