package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestACommandIsRunInAPodOfTheServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"internal accounts list", "exec deployment/internal --container=acmeserver -- /acmeserver accounts list"},
		{
			"-n pki --context staging internal certificates revoke --reason superseded 0123",
			"--namespace=pki --context=staging exec deployment/internal --container=acmeserver -- /acmeserver certificates revoke --reason superseded 0123",
		},
		{"internal certificates list -h", "exec deployment/internal --container=acmeserver -- /acmeserver certificates list -h"},
	} {
		got, err := kubectl(strings.Fields(test.args))
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
		}
		if diff := cmp.Diff(strings.Fields(test.want), got); diff != "" {
			t.Errorf("%s: kubectl's arguments (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestWhatIsNotRunInAPodIsRefused(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                               "name the AcmeServer",
		"internal":                       "name the AcmeServer, and a command",
		"internal serve --config x":      `"serve" is not a command that is run in a pod`,
		"--color internal accounts list": "flag provided but not defined",
	} {
		got, err := kubectl(strings.Fields(args))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: arguments %v, error %v; want %q", args, got, err, want)
		}
	}
}
