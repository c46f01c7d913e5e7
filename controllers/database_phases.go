package controllers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// databaseCertificateLifetime is long, since PostgreSQL restarts for a new one.
const databaseCertificateLifetime = 10 * 365 * 24 * time.Hour

// ensureDatabase finds out how the database is reached, and runs the embedded one.
func (r *AcmeServerReconciler) ensureDatabase(ctx context.Context, s *scope) error {
	if s.server.Spec.Database.SecretRef != nil {
		if err := r.restEmbeddedDatabase(ctx, s); err != nil {
			return err
		}
		return r.readConnection(ctx, s)
	}
	ready, err := r.ensureEmbeddedDatabase(ctx, s)
	if err != nil {
		return err
	}
	if err := r.readConnection(ctx, s); err != nil {
		return err
	}
	if !ready {
		r.migrations.forgive(client.ObjectKeyFromObject(s.server)) // it is asked as soon as it is
		return blockedf(v1alpha1.ReasonProgressing, "the embedded database starts; if that lasts, see `kubectl -n %s describe pod %s-0`",
			s.server.Namespace, render.DatabaseName(s.server))
	}
	return nil
}

// readConnection reads the connection's Secret and the one with the roots.
func (r *AcmeServerReconciler) readConnection(ctx context.Context, s *scope) error {
	name, key := render.DatabaseSecret(s.server)
	uri, err := r.databaseKey(ctx, s, "secretRef", name, key)
	if err != nil {
		return err
	}
	database := &Database{URL: strings.TrimSpace(string(uri)), Schema: s.server.Spec.Database.Schema}
	if name, key := render.DatabaseRootCAs(s.server); name != "" {
		if database.RootCAs, err = r.databaseKey(ctx, s, "rootCAsRef", name, key); err != nil {
			return err
		}
	}
	s.database = database
	s.databaseFiles = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Data:       map[string][]byte{render.DatabaseURIKey: uri, render.RootsKey: database.RootCAs},
	}
	return nil
}

// databaseKey reads one key of a Secret that a field of spec.database names.
func (r *AcmeServerReconciler) databaseKey(ctx context.Context, s *scope, field, name, key string) ([]byte, error) {
	secret, err := r.secret(ctx, s.server, name)
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, blockedf(v1alpha1.ReasonSecretMissing,
			"the Secret %s of spec.database.%s does not exist: make it, with the key %s", name, field, key)
	}
	if len(secret.Data[key]) == 0 {
		return nil, blockedf(v1alpha1.ReasonSecretMissing,
			"the Secret %s of spec.database.%s has no key %s: add it, or name another with spec.database.%s.key", name, field, key, field)
	}
	return secret.Data[key], nil
}

// ensureEmbeddedDatabase applies the embedded database, and reports whether it
// takes connections.
func (r *AcmeServerReconciler) ensureEmbeddedDatabase(ctx context.Context, s *scope) (bool, error) {
	tls, err := r.ensureDatabaseCertificate(ctx, s)
	if err != nil {
		return false, err
	}
	connection, err := r.ensureDatabaseConnection(ctx, s, tls)
	if err != nil {
		return false, err
	}
	set, err := render.DatabaseStatefulSet(s.server, r.Platform, render.Digest(render.DatabaseConfig(), tls, connection))
	if err != nil {
		return false, err
	}
	for _, object := range []any{render.DatabaseConfigMap(s.server), render.DatabaseService(s.server)} {
		if _, err := r.apply(ctx, s.server, object); err != nil {
			return false, err
		}
	}
	if policy := render.DatabaseNetworkPolicy(s.server, r.Platform); policy != nil {
		_, err = r.apply(ctx, s.server, policy)
	} else {
		err = r.remove(ctx, s.server, &networkingv1.NetworkPolicy{}, render.DatabaseName(s.server))
	}
	if err != nil {
		return false, err
	}
	applied, err := r.apply(ctx, s.server, set)
	if err != nil {
		return false, err
	}
	current, ok := applied.(*appsv1.StatefulSet)
	return ok && current.Status.ObservedGeneration == current.Generation && current.Status.ReadyReplicas > 0, nil
}

// restEmbeddedDatabase stops an embedded database that was used before. Its
// volume stays, so that its data can be moved, or it be used again.
func (r *AcmeServerReconciler) restEmbeddedDatabase(ctx context.Context, s *scope) error {
	set := &appsv1.StatefulSet{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.server.Namespace, Name: render.DatabaseName(s.server)}, set)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading StatefulSet %s: %w", render.DatabaseName(s.server), err)
	}
	if !metav1.IsControlledBy(set, s.server) || (set.Spec.Replicas != nil && *set.Spec.Replicas == 0) {
		return nil
	}
	patch := client.MergeFrom(set.DeepCopy())
	set.Spec.Replicas = new(int32)
	if err := r.Client.Patch(ctx, set, patch, client.FieldOwner(render.Operator)); err != nil {
		return fmt.Errorf("stopping StatefulSet %s: %w", set.Name, err)
	}
	return nil
}

// ensureDatabaseCertificate returns the Secret with the embedded database's
// certificate, which is made or renewed where that is due.
func (r *AcmeServerReconciler) ensureDatabaseCertificate(ctx context.Context, s *scope) (*corev1.Secret, error) {
	secret, err := r.ownSecret(ctx, s.server, render.DatabaseTLSName(s.server))
	if err != nil {
		return nil, err
	}
	var roots []byte
	if secret != nil {
		certificates, err := issuance.ParseCertificates(secret.Data[corev1.TLSCertKey])
		if err == nil && s.now.Before(renewAt(certificates[0])) {
			s.wake(renewAt(certificates[0]))
			return secret, nil
		}
		roots = secret.Data[render.RootsKey]
	}
	name := render.DatabaseName(s.server)
	hosts := []string{name + "." + s.server.Namespace + ".svc", name + "." + s.server.Namespace + ".svc." + r.Platform.ClusterDomain}
	pair, err := newDatabaseCertificate(hosts, databaseCertificateLifetime, s.now)
	if err != nil {
		return nil, err
	}
	s.wake(s.now.Add(databaseCertificateLifetime * 2 / 3))
	if secret == nil {
		return r.createSecret(ctx, render.DatabaseTLSSecret(s.server, pair))
	}
	return r.updateSecret(ctx, secret, map[string][]byte{
		corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key,
		// Servers that start before the database has the new certificate meet the old one.
		render.RootsKey: append(pair.Roots, roots...),
	})
}

// ensureDatabaseConnection returns the Secret with the embedded database's
// password. The password is made once; the certificates follow the other Secret.
func (r *AcmeServerReconciler) ensureDatabaseConnection(ctx context.Context, s *scope, tls *corev1.Secret) (*corev1.Secret, error) {
	secret, err := r.ownSecret(ctx, s.server, render.DatabaseName(s.server))
	if err != nil {
		return nil, err
	}
	roots := tls.Data[render.RootsKey]
	if secret == nil {
		// 128 bits of letters and digits, which need no escape in a URI.
		return r.createSecret(ctx, render.DatabaseConnectionSecret(s.server, rand.Text(), roots))
	}
	// Whoever changes the password changes it in one place; who deletes it gets another.
	password := cmp.Or(string(secret.Data["password"]), rand.Text())
	wanted := render.DatabaseConnectionSecret(s.server, password, roots).Data
	for key, value := range wanted {
		if !bytes.Equal(secret.Data[key], value) {
			return r.updateSecret(ctx, secret, wanted)
		}
	}
	return secret, nil
}

// migrateDatabase brings the schema to what the servers work with, which also
// tells whether the database answers. One that is not known to is asked beside.
func (r *AcmeServerReconciler) migrateDatabase(ctx context.Context, s *scope) error {
	key, said := client.ObjectKeyFromObject(s.server), s.databaseCondition()
	known := r.migrations.look(key, *s.database)
	switch {
	case known.running:
		return s.migrating(known.said)
	case known.answered:
		s.connected()
		return nil
	case known.err != nil && time.Now().Before(known.again):
		s.wake(s.now.Add(time.Until(known.again)))
		return blockedf(v1alpha1.ReasonUnreachable, "%s", s.unusable(known.err))
	case known.err != nil:
		return r.askBeside(ctx, s, s.unusable(known.err))
	case said.Reason == v1alpha1.ReasonUnreachable && !known.other: // the operator has started since
		return r.askBeside(ctx, s, said.Message)
	case said.Status != metav1.ConditionTrue && !s.databaseStarts():
		return r.askBeside(ctx, s, "")
	}
	pending, err := r.pending(ctx, *s.database)
	switch {
	case err != nil && s.databaseStarts():
		s.wake(s.now.Add(time.Second)) // no error to log: it is so at each start
		return blockedf(v1alpha1.ReasonProgressing, "the embedded database has started and is not reached by its Service yet")
	case err != nil:
		r.migrations.fail(key, *s.database, err)
		return retryf(v1alpha1.ReasonUnreachable, "%s", s.unusable(err))
	case pending:
		r.migrations.begin(ctx, s.server, *s.database, "", r.Migrate)
		return s.migrating("")
	}
	s.connected()
	return nil
}

// askBeside asks a database, and migrates it where it is behind, while the condition says
// what was said before, if anything.
func (r *AcmeServerReconciler) askBeside(ctx context.Context, s *scope, said string) error {
	r.migrations.begin(ctx, s.server, *s.database, said, func(ctx context.Context, d Database) error {
		pending, err := r.pending(ctx, d)
		if err != nil || !pending {
			return err
		}
		return r.Migrate(ctx, d)
	})
	return s.migrating(said)
}

// connected records that the database is reached and has what the servers work with.
func (s *scope) connected() {
	s.succeed(v1alpha1.ConditionDatabaseReady, v1alpha1.ReasonConnected, "reached, with schema %q", s.database.Schema)
}

// unusable says why the database cannot be used.
func (s *scope) unusable(err error) string {
	name, _ := render.DatabaseSecret(s.server)
	return fmt.Sprintf("the database of Secret %s cannot be used: %s; see that it runs and that the operator can reach it",
		name, withoutSecrets(err.Error(), s.database.URL))
}

// migrating waits for the end of what works with the database, which wakes us. What was
// said of one that cannot be used stays until it can.
func (s *scope) migrating(said string) error {
	if said != "" {
		return blockedf(v1alpha1.ReasonUnreachable, "%s", said)
	}
	return blockedf(v1alpha1.ReasonProgressing, "the database is asked, and its schema %q brought to what the servers work with", s.database.Schema)
}

// pending asks a database whether there is something to migrate.
func (r *AcmeServerReconciler) pending(ctx context.Context, d Database) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, pendingTimeout)
	defer cancel()
	return r.Pending(ctx, d)
}

// databaseCondition returns what was said of the database before.
func (s *scope) databaseCondition() metav1.Condition {
	if c := meta.FindStatusCondition(s.server.Status.Conditions, v1alpha1.ConditionDatabaseReady); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// startTime is how long an embedded database that started may be out of reach
// before that is worth a warning: the Service's routes come after the pod.
const startTime = time.Minute

// databaseStarts reports whether the embedded database has started just now.
func (s *scope) databaseStarts() bool {
	if s.server.Spec.Database.SecretRef != nil {
		return false
	}
	c := s.databaseCondition()
	return c.Reason == "" || c.Reason == v1alpha1.ReasonProgressing && s.now.Sub(c.LastTransitionTime.Time) < startTime
}

// withoutSecrets takes a connection URI and its password out of a text. Libraries
// take care not to show them; conditions and events are read by too many to rely
// on it.
func withoutSecrets(text, uri string) string {
	text = strings.ReplaceAll(text, uri, "(URI)")
	parsed, err := url.Parse(uri)
	if err != nil || parsed.Scheme == "" {
		return "the connection URI cannot be read; it begins with postgresql://"
	}
	var secrets []string
	if password, ok := parsed.User.Password(); ok {
		secrets = append(secrets, password, url.QueryEscape(password), url.PathEscape(password))
	}
	for pair := range strings.SplitSeq(parsed.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.Contains(name, "password") {
			continue
		}
		// A plus sign stands for itself to PostgreSQL's libraries, and for a space to others.
		plain, _ := url.PathUnescape(value)
		spaced, _ := url.QueryUnescape(value)
		secrets = append(secrets, value, plain, spaced)
	}
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "(password)")
		}
	}
	return text
}
