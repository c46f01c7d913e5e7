//go:build e2e

package e2e

import (
	"context"
	"testing"
)

// diagnose writes to the log of a failed test what the cluster knows of it.
func (n *namespace) diagnose(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "acmeservers", "-o", "wide"},
		{"describe", "acmeservers"},
		{"get", "all,pvc,secrets,configmaps,pdb,networkpolicies,ingresses", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"get", "clusterissuers", "-o", "wide"},
		{"describe", "certificates,certificaterequests,orders,challenges"},
		{"logs", "-l", "app.kubernetes.io/name=acmeserver", "--tail=200", "--prefix"},
		{"logs", "-l", "app.kubernetes.io/name=acmeserver-database", "--tail=100", "--prefix"},
		{"logs", "-l", "app.kubernetes.io/name=" + testDatabase, "--tail=100", "--prefix"},
		{"logs", "-n", n.operator.Namespace, "deployment/" + n.operator.Name, "--tail=300"},
		{"logs", "-n", "cert-manager", "deployment/cert-manager", "--tail=100"},
	} {
		out, err := n.run(ctx, nil, append([]string{"-n", n.name}, args...)...)
		if err != nil {
			t.Logf("kubectl %v: %v", args, err)
			continue
		}
		t.Logf("kubectl %v\n%s", args, out)
	}
}
