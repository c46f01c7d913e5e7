//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"net/url"
	"testing"
	"text/template"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// testDatabase is the name of a database of the tests, and of all its objects.
const testDatabase = "postgres"

//go:embed testdata/postgres.yaml
var databaseManifest string

// database is a Postgres that a test brings, with Secrets such as CloudNativePG writes.
type database struct {
	*namespace
	password string
}

// newDatabase makes a Postgres that only speaks TLS, and waits for it.
func (n *namespace) newDatabase(t *testing.T) *database {
	t.Helper()
	if n.databaseImage == "" {
		t.Fatal("DATABASE_IMAGE is not set, which hack/kind/env prints: name an image that has initdb and postgres")
	}
	d := &database{namespace: n, password: rand.Text()}
	authority := newAuthority(t, "database of "+n.name)
	pair := authority.issue(t, d.host())
	d.secret(t, "postgres-server", map[string][]byte{"tls.crt": pair.certificate, "tls.key": pair.key, "password": []byte(d.password)})
	d.secret(t, "postgres-ca", map[string][]byte{"ca.crt": authority.pem})
	d.secret(t, "postgres-app", d.connection(d.host(), d.password))
	var manifest bytes.Buffer
	err := template.Must(template.New("").Parse(databaseManifest)).Execute(&manifest, map[string]string{"Image": n.databaseImage})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.run(t.Context(), manifest.Bytes(), "-n", n.name, "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	d.awaitReplicas(t, 1)
	return d
}

// host is the name that the database's certificate has.
func (d *database) host() string { return fmt.Sprintf("%s.%s.svc", testDatabase, d.name) }

// connection returns the data of a Secret <cluster>-app of CloudNativePG.
func (d *database) connection(host, password string) map[string][]byte {
	uri := url.URL{Scheme: "postgresql", User: url.UserPassword("app", password), Host: host + ":5432", Path: "/app"}
	return map[string][]byte{
		"username": []byte("app"), "password": []byte(password), "dbname": []byte("app"),
		"host": []byte(host), "port": []byte("5432"), "uri": []byte(uri.String()),
	}
}

// secret makes a Secret, or writes it anew.
func (n *namespace) secret(t *testing.T, name string, data map[string][]byte) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: name}, Data: data}
	err := n.client.Create(t.Context(), secret)
	if err != nil {
		err = n.client.Update(t.Context(), secret)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// scale ends the database, or lets it run again with what it had, and waits for that.
func (d *database) scale(t *testing.T, replicas int32) {
	t.Helper()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas))
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: d.name, Name: testDatabase}}
	if err := d.client.Patch(t.Context(), set, patch); err != nil {
		t.Fatal(err)
	}
	d.awaitReplicas(t, replicas)
}

func (d *database) awaitReplicas(t *testing.T, replicas int32) {
	t.Helper()
	await(t, fmt.Sprintf("the test's database has %d replicas", replicas), func(ctx context.Context) error {
		var set appsv1.StatefulSet
		if err := d.client.Get(ctx, client.ObjectKey{Namespace: d.name, Name: testDatabase}, &set); err != nil {
			return err
		}
		if set.Status.Replicas != replicas || set.Status.ReadyReplicas != replicas {
			return fmt.Errorf("%d are there, %d are ready", set.Status.Replicas, set.Status.ReadyReplicas)
		}
		return nil
	})
}

// spec is the part of an AcmeServer that uses the database.
func (d *database) spec() v1alpha1.DatabaseSpec {
	return v1alpha1.DatabaseSpec{
		SecretRef:  &v1alpha1.DatabaseSecretReference{SecretReference: v1alpha1.SecretReference{Name: "postgres-app"}},
		RootCAsRef: &v1alpha1.RootCAsReference{SecretReference: v1alpha1.SecretReference{Name: "postgres-ca"}},
	}
}
