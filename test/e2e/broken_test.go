//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

func TestConditionSaysWhatIsWrongWithTheDatabaseUntilItIsRepaired(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	db := n.newDatabase(t)
	spec := v1alpha1.AcmeServerSpec{Database: db.spec(), Validation: trusted()}
	spec.Database.SecretRef.Name = "mine"
	server := n.apply(t, "internal", spec)

	const wrong = "wrong-password-that-nobody-may-read"
	for _, step := range []struct {
		name, reason string
		data         map[string][]byte
		texts        []string
	}{
		{"there is no Secret", v1alpha1.ReasonSecretMissing, nil, []string{"Secret mine", "does not exist", "key uri"}},
		{"the Secret lacks the key", v1alpha1.ReasonSecretMissing, map[string][]byte{"url": []byte("x")}, []string{"Secret mine", "has no key uri"}},
		{"the URI is none", v1alpha1.ReasonUnreachable, map[string][]byte{"uri": []byte("not a URI " + wrong)}, []string{"Secret mine"}},
		{"the host does not exist", v1alpha1.ReasonUnreachable, db.connection("nowhere."+n.name+".svc", wrong), []string{"Secret mine", "nowhere"}},
		{"the password is wrong", v1alpha1.ReasonUnreachable, db.connection(db.host(), wrong), []string{"Secret mine", "authentication failed"}},
	} {
		t.Log(step.name)
		if step.data != nil {
			n.secret(t, "mine", step.data)
		}
		n.awaitCondition(t, server, v1alpha1.ConditionDatabaseReady, step.reason, step.texts...)
		n.awaitCondition(t, server, v1alpha1.ConditionReady, step.reason, step.texts...)
	}

	n.secret(t, "mine", db.connection(db.host(), db.password))
	n.awaitReady(t, server)
	n.issue(t, server, "web", "web.example")
	n.testNobodyTells(t, wrong, db.password)
}

// testNobodyTells looks for passwords where more people can read than in Secrets.
func (n *namespace) testNobodyTells(t *testing.T, passwords ...string) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "acmeservers,events,configmaps,deployments,pods", "-o", "yaml"},
		{"logs", "-l", "app.kubernetes.io/name=acmeserver", "--tail=-1"},
		{"logs", "-n", n.operator.Namespace, "deployment/" + n.operator.Name, "--tail=-1"},
	} {
		out, err := n.run(t.Context(), nil, append([]string{"-n", n.name}, args...)...)
		if err != nil {
			t.Error(err)
		}
		for _, password := range passwords {
			if strings.Contains(string(out), password) {
				t.Errorf("kubectl %s shows the password %s", strings.Join(args, " "), password)
			}
		}
	}
}

func TestConditionSaysWhatIsWrongWithTheAuthorityUntilItIsRepaired(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	root := newAuthority(t, "Example Root CA")
	pair := root.intermediate(t, "Example Issuing CA").pair(t)
	other := root.intermediate(t, "Another").pair(t)
	leaf := root.issue(t, "leaf.example")
	server := n.apply(t, "internal", v1alpha1.AcmeServerSpec{
		CA:         v1alpha1.CertificateAuthoritySpec{SecretRef: &v1alpha1.SecretReference{Name: "mine"}},
		Validation: trusted(),
	})
	for _, step := range []struct {
		name, reason  string
		crt, key, top []byte
		text          string
	}{
		{"there is no Secret", v1alpha1.ReasonSecretMissing, nil, nil, nil, "does not exist"},
		{"the Secret lacks a key", v1alpha1.ReasonSecretMissing, pair.certificate, pair.key, nil, "has no key ca.crt"},
		{"the key is another's", v1alpha1.ReasonSecretInvalid, pair.certificate, other.key, root.pem, "not the key of the first certificate"},
		{"the certificate is a leaf", v1alpha1.ReasonSecretInvalid, leaf.certificate, leaf.key, root.pem, "must not sign others"},
		{"the root is another", v1alpha1.ReasonSecretInvalid, pair.certificate, pair.key, leaf.certificate, "does not lead to"},
	} {
		t.Log(step.name)
		if step.crt != nil {
			n.secret(t, "mine", map[string][]byte{"tls.crt": step.crt, "tls.key": step.key, "ca.crt": step.top})
		}
		n.awaitCondition(t, server, v1alpha1.ConditionCertificateAuthorityReady, step.reason, "Secret mine", step.text)
	}
	n.secret(t, "mine", map[string][]byte{"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": root.pem})
	n.awaitReady(t, server)
	n.issue(t, server, "web", "web.example")
}

// What the object alone tells is refused at once, with what would be right.
func TestTheAPIServerRefusesAnInvalidAcmeServerAndSaysWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	for _, test := range []struct{ name, server, says string }{
		{"a name that no Service can have", `{metadata: {name: 1st}, spec: {}}`, "beginning with a letter"},
		{"a field that there is not", `{metadata: {name: x}, spec: {replica: 2}}`, "replica"},
		{"a mode that there is not", `{metadata: {name: x}, spec: {validation: {mode: Perhaps}}}`, `"Challenge", "Trusted"`},
		{"a lifetime of no time", `{metadata: {name: x}, spec: {profiles: [{name: a, lifetime: 1m}]}}`, "from 15m to 87840h"},
		{"two defaults", `{metadata: {name: x}, spec: {profiles: [{name: a, lifetime: 1h, default: true}, {name: b, lifetime: 1h, default: true}]}}`, "at most one profile"},
		{"two databases", `{metadata: {name: x}, spec: {database: {secretRef: {name: a}, embedded: {}}}}`, "not both"},
		{"a network with bits behind its prefix", `{metadata: {name: x}, spec: {validation: {networks: {deny: [10.0.0.1/8]}}}}`, "no bits behind its prefix"},
		{"a host name with a scheme", `{metadata: {name: x}, spec: {hostnames: ["https://a.example"]}}`, "without scheme"},
		{"a root that its intermediate outlives", `{metadata: {name: x}, spec: {ca: {selfSigned: {rootLifetime: 48h, intermediateLifetime: 96h}}}}`, "must be longer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			manifest := "{apiVersion: acme-ca.dev/v1alpha1, kind: AcmeServer, " + strings.TrimPrefix(test.server, "{")
			_, err := n.run(t.Context(), []byte(manifest), "-n", n.name, "apply", "-f", "-")
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v; want it to say %q", err, test.says)
			}
		})
	}
	var all v1alpha1.AcmeServerList
	if err := n.client.List(t.Context(), &all, client.InNamespace(n.name)); err != nil || len(all.Items) > 0 {
		t.Errorf("%d AcmeServers were taken (%v)", len(all.Items), err)
	}
}
