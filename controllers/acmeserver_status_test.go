package controllers

import (
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// the time of the tests: whole seconds, as the API has them.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// ready returns the scope of a reconcile of an AcmeServer that lacks nothing.
func ready(t *testing.T) *scope {
	t.Helper()
	root, err := newRoot(pkix.Name{CommonName: "Root"}, v1alpha1.ECDSAP256, defaultRootLifetime, noon)
	if err != nil {
		t.Fatal(err)
	}
	key, err := issuance.GenerateKey(issuance.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newIntermediate(root, pkix.Name{CommonName: "Intermediate"}, key, defaultIntermediateLifetime, noon)
	if err != nil {
		t.Fatal(err)
	}
	s := &scope{
		server: &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: "pki", Generation: 3}},
		now:    noon, authority: a, root: true, outcomes: map[string]outcome{},
		deployment: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: "pki"},
			Status:     appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 1},
		},
		issuer: &certmanagerv1.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: "pki-internal"}},
	}
	s.issuer.Status.Conditions = []certmanagerv1.IssuerCondition{{Type: certmanagerv1.IssuerConditionReady, Status: cmmeta.ConditionTrue}}
	s.succeed(v1alpha1.ConditionDatabaseReady, v1alpha1.ReasonConnected, "reached")
	s.succeed(v1alpha1.ConditionCertificateAuthorityReady, v1alpha1.ReasonIssued, "made")
	return s
}

func TestAClusterIssuerThatIsNotLookedAtSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*scope){
		"waits for a server that answers": func(*scope) {},
		"waits for the certificate authority": func(s *scope) {
			s.outcomes[v1alpha1.ConditionCertificateAuthorityReady] = outcomeOf(blockedf(v1alpha1.ReasonSecretMissing, "make it"))
		},
	} {
		s := ready(t)
		s.issuer = nil
		change(s)
		if got := issuerReadiness(s).message; got != want {
			t.Errorf("the condition says %q, want %q", got, want)
		}
	}
}

func TestReadyTellsOfTheFirstConditionThatIsNot(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*scope)
		reason string
	}{
		{"nothing is amiss", func(*scope) {}, v1alpha1.ReasonReady},
		{"the database is down", func(s *scope) {
			s.outcomes[v1alpha1.ConditionDatabaseReady] = outcomeOf(retryf(v1alpha1.ReasonUnreachable, "down"))
		}, v1alpha1.ReasonUnreachable},
		{"the database is down and the authority expired", func(s *scope) {
			s.outcomes[v1alpha1.ConditionDatabaseReady] = outcomeOf(retryf(v1alpha1.ReasonUnreachable, "down"))
			s.outcomes[v1alpha1.ConditionCertificateAuthorityReady] = outcomeOf(blockedf(v1alpha1.ReasonExpired, "expired"))
		}, v1alpha1.ReasonUnreachable},
		{"there is no Deployment", func(s *scope) { s.deployment = nil }, v1alpha1.ReasonWaiting},
		{"no server is ready", func(s *scope) { s.deployment.Status.AvailableReplicas = 0 }, v1alpha1.ReasonProgressing},
		{"Kubernetes gave up", func(s *scope) {
			s.deployment.Status.AvailableReplicas = 0
			s.deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse}}
		}, v1alpha1.ReasonUnavailable},
		{"none is asked for", func(s *scope) {
			s.deployment.Status.AvailableReplicas = 0
			s.server.Spec.Replicas = new(int32)
		}, v1alpha1.ReasonReady},
		{"cert-manager is not there", func(s *scope) {
			s.outcomes[v1alpha1.ConditionClusterIssuerReady] = outcomeOf(blockedf(v1alpha1.ReasonCertManagerMissing, "install it"))
		}, v1alpha1.ReasonCertManagerMissing},
		{"cert-manager could not register", func(s *scope) {
			s.issuer.Status.Conditions[0].Status = cmmeta.ConditionFalse
		}, v1alpha1.ReasonNotRegistered},
		{"cert-manager has not seen the change", func(s *scope) { s.issuer.Generation = 2 }, v1alpha1.ReasonProgressing},
		{"no ClusterIssuer is asked for", func(s *scope) {
			s.issuer = nil
			s.server.Spec.ClusterIssuer.Enabled = new(bool)
		}, v1alpha1.ReasonReady},
		{"names are not proved", func(s *scope) { s.server.Spec.Validation.Mode = v1alpha1.ValidationTrusted }, v1alpha1.ReasonReady},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := ready(t)
			test.change(s)
			got := meta.FindStatusCondition(statusOf(s).Conditions, v1alpha1.ConditionReady)
			if got.Reason != test.reason || (got.Status == metav1.ConditionTrue) != (test.reason == v1alpha1.ReasonReady) {
				t.Errorf("Ready is %s %s (%s), not %s", got.Status, got.Reason, got.Message, test.reason)
			}
			if got.ObservedGeneration != 3 || got.Message == "" {
				t.Errorf("the condition is %+v", got)
			}
		})
	}
}

func TestStatusOfTheSameIsTheSame(t *testing.T) {
	t.Parallel()
	s := ready(t)
	s.server.Status = statusOf(s)
	s.now = s.now.Add(time.Hour)
	if diff := cmp.Diff(s.server.Status, statusOf(s)); diff != "" {
		t.Errorf("the status changes with the time alone (-before +after):\n%s", diff)
	}
}

func TestTrustedModeWarns(t *testing.T) {
	t.Parallel()
	s := ready(t)
	s.server.Spec.Validation.Mode = v1alpha1.ValidationTrusted
	got := meta.FindStatusCondition(statusOf(s).Conditions, v1alpha1.ConditionIssuanceRestricted)
	if got.Status != metav1.ConditionFalse || got.Reason != v1alpha1.ReasonTrusted {
		t.Errorf("the condition is %+v", got)
	}
}

func TestTextsForPeopleHaveNoPassword(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, uri string }{
		{"the URI itself", "cannot parse postgresql://u:sesame@h/d: no", "postgresql://u:sesame@h/d"},
		{"the password alone", "password sesame refused", "postgresql://u:sesame@h/d"},
		{"the password as it is escaped", "u:open%2Fsesame@h", "postgresql://u:open%2Fsesame@h/d"},
		{"the password as it is meant", "open/sesame", "postgresql://u:open%2Fsesame@h/d"},
		{"the password as a parameter", "with sesame", "postgresql://h/d?user=u&password=sesame"},
		{"a parameter with a plus sign", "with open+sesame", "postgresql://h/d?user=u&password=open+sesame"},
		{"the password of a key", "with sesame", "postgresql://h/d?sslpassword=sesame"},
		{"a URI that cannot be read", "parsing ://u:sesame@h: no", "://u:sesame"},
		{"a keyword string", "host=h password=sesame: refused", "host=h password=sesame"},
		{"a part of a keyword string", "with sesame: refused", "host=h password=sesame"},
	} {
		if got := withoutSecrets(test.text, test.uri); strings.Contains(got, "sesame") {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}

func TestContains(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	for _, test := range []struct {
		name             string
		current, desired any
		want             bool
	}{
		{"more fields than asked for", object{"a": "1", "b": "2"}, object{"a": "1"}, true},
		{"another value", object{"a": "1"}, object{"a": "2"}, false},
		{"a field that is gone", object{}, object{"a": "1"}, false},
		{"an empty object that is gone", object{}, object{"a": object{}}, true},
		{"a number of another type", object{"a": int64(1)}, object{"a": float64(1)}, true},
		{"a list with one value more", []any{"a", "b"}, []any{"a"}, false},
		{"a list in another order", []any{"a", "b"}, []any{"b", "a"}, false},
		{"a list of objects with one more", []any{object{"n": "x"}, object{"n": "a", "d": "1"}}, []any{object{"n": "a"}}, true},
		{"a list of objects that lacks one", []any{object{"n": "a"}}, []any{object{"n": "a"}, object{"n": "b"}}, false},
		{"an empty list that is gone", nil, []any{}, true},
	} {
		if got := contains(test.current, test.desired); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}

func TestAuthorityThatCannotSignIsRefused(t *testing.T) {
	t.Parallel()
	good, other := ready(t).authority, ready(t).authority
	leaf, err := newDatabaseCertificate([]string{"db"}, 24*time.Hour, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		pair       render.KeyPair
	}{
		{"an empty certificate", "tls.crt", render.KeyPair{Key: good.pair.Key, Roots: good.pair.Roots}},
		{"an empty root", "ca.crt", render.KeyPair{Certificate: good.pair.Certificate, Key: good.pair.Key}},
		{"an empty key", "tls.key", render.KeyPair{Certificate: good.pair.Certificate, Roots: good.pair.Roots}},
		{"the key of another", "not the key", render.KeyPair{Certificate: good.pair.Certificate, Key: other.pair.Key, Roots: good.pair.Roots}},
		{"the root of another", "does not lead", render.KeyPair{Certificate: good.pair.Certificate, Key: good.pair.Key, Roots: other.pair.Roots}},
		{"an end-entity certificate", "must not sign", leaf},
	} {
		_, err := parseAuthority(test.pair)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, and should say %q", test.name, err, test.want)
		}
	}
	if _, err := parseAuthority(good.pair); err != nil {
		t.Errorf("a good authority: %v", err)
	}
}
