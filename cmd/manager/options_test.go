package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrongFlagsAreNamed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"a flag that is not known", "-server", []string{"--server"}},
		{"an argument", `"serve" is one argument too many`, []string{"serve"}},
		{"no image of databases", "--database-image", []string{"--database-image="}},
		{"a level that is not known", "log-level", []string{"--log-level=LOUD"}},
	} {
		if _, err := parseOptions(test.args); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, and should say %q", test.name, err, test.want)
		}
	}
}

func TestNoNamespaceChoosesItsClusterIssuerUnlessListed(t *testing.T) {
	t.Setenv("CLUSTER_ISSUER_NAMESPACES", "")
	for _, test := range []struct {
		args []string
		want []string
	}{{nil, []string{}}, {[]string{"--cluster-issuer-namespaces=pki, infra"}, []string{"pki", "infra"}}, {[]string{"--cluster-issuer-namespaces=*"}, []string{"*"}}} {
		o, err := parseOptions(test.args)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, split(o.issuers)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestNamespacesToWorkIn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		list string
		want []string
	}{{"", nil}, {"pki", []string{"pki"}}, {" pki, infra,", []string{"infra", "pki"}}} {
		o, err := parseOptions([]string{"--watch-namespaces", test.list})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(o.namespaces()))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.list, diff)
		}
	}
}
