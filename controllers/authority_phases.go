package controllers

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// The lifetimes of an authority that the spec says nothing of, as its markers
// have them.
const (
	defaultRootLifetime         = 10 * 365 * 24 * time.Hour
	defaultIntermediateLifetime = 365 * 24 * time.Hour
)

// ensureAuthority finds or makes what is signed with.
func (r *AcmeServerReconciler) ensureAuthority(ctx context.Context, s *scope) error {
	reason, find := v1alpha1.ReasonIssued, r.selfSignedAuthority
	switch {
	case s.server.Spec.CA.SecretRef != nil:
		reason, find = v1alpha1.ReasonProvided, r.providedAuthority
	case s.server.Spec.CA.CertManager != nil:
		find = r.issuedAuthority
	}
	a, err := find(ctx, s)
	if err != nil {
		return err
	}
	end := a.notAfter()
	if !s.now.Before(end) {
		return blockedf(v1alpha1.ReasonExpired, "the authority's certificate, or one above it, expired at %s: %s",
			end.UTC().Format(time.RFC3339), howToReplace(s.server))
	}
	s.authority = a
	s.wake(end)
	alternates, err := r.readAlternates(ctx, s)
	if err != nil {
		return err
	}
	s.succeed(v1alpha1.ConditionCertificateAuthorityReady, reason, "%s is valid until %s; %s%s",
		a.certificate().Subject, end.UTC().Format(time.RFC3339), s.renewal(), alternates)
	return nil
}

// renewal says who renews the authority's certificate.
func (s *scope) renewal() string {
	switch {
	case s.server.Spec.CA.SecretRef != nil:
		return "renew it in the Secret " + s.server.Spec.CA.SecretRef.Name
	case s.unasked != nil:
		return "cert-manager could not be asked for it as the spec is: " + s.unasked.Error()
	case s.certificate != nil:
		return "cert-manager renews it" + failure(s.certificate)
	case s.server.Spec.CA.CertManager != nil:
		return "nobody renews it, as cert-manager is not installed"
	case s.renewable():
		return "the operator renews it"
	case !s.root:
		return "without the Secret " + render.RootSecretName(s.server) + " it is not renewed: restore that before"
	default:
		return "it ends with its root, which the operator does not renew"
	}
}

// howToReplace says what to do about an authority that has expired.
func howToReplace(server *v1alpha1.AcmeServer) string {
	if ref := server.Spec.CA.SecretRef; ref != nil {
		return "put a valid certificate into the Secret " + ref.Name
	}
	if server.Spec.CA.CertManager != nil {
		return "see why cert-manager has not renewed the Certificate " + render.IssuedAuthorityName(server)
	}
	return fmt.Sprintf("delete the Secrets %s and %s, and the operator makes a new authority, which clients must be made to trust",
		render.AuthoritySecretName(server), render.RootSecretName(server))
}

// providedAuthority reads the authority that the user brings.
func (r *AcmeServerReconciler) providedAuthority(ctx context.Context, s *scope) (*authority, error) {
	name := s.server.Spec.CA.SecretRef.Name
	secret, err := r.secret(ctx, s.server, name)
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, blockedf(v1alpha1.ReasonSecretMissing,
			"the Secret %s of spec.ca.secretRef does not exist: make it, with the keys tls.crt, tls.key and ca.crt", name)
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, render.RootsKey} {
		if len(secret.Data[key]) == 0 {
			return nil, blockedf(v1alpha1.ReasonSecretMissing,
				"the Secret %s of spec.ca.secretRef has no key %s: add it; tls.crt, tls.key and ca.crt are needed", name, key)
		}
	}
	return authorityOf(secret)
}

// authorityOf reads the authority that a Secret has.
func authorityOf(secret *corev1.Secret) (*authority, error) {
	a, err := parseAuthority(pairOf(secret))
	if err != nil {
		return nil, blockedf(v1alpha1.ReasonSecretInvalid, "the Secret %s is no certificate authority: %s", secret.Name, err)
	}
	return a, nil
}

// pairOf returns the data of a Secret of the type kubernetes.io/tls.
func pairOf(secret *corev1.Secret) render.KeyPair {
	return render.KeyPair{
		Certificate: secret.Data[corev1.TLSCertKey],
		Key:         secret.Data[corev1.TLSPrivateKeyKey],
		Roots:       secret.Data[render.RootsKey],
	}
}

// selfSignedAuthority returns the intermediate, which is made or renewed where
// that is due. A root is only made where there is no intermediate either: its
// Secret may have been taken away on purpose, to be brought back for a renewal.
func (r *AcmeServerReconciler) selfSignedAuthority(ctx context.Context, s *scope) (*authority, error) {
	rootSecret, err := r.ownSecret(ctx, s.server, render.RootSecretName(s.server))
	if err != nil {
		return nil, err
	}
	secret, err := r.ownSecret(ctx, s.server, render.AuthoritySecretName(s.server))
	if err != nil {
		return nil, err
	}
	if rootSecret == nil && secret == nil {
		if rootSecret, err = r.makeRoot(ctx, s); err != nil {
			return nil, err
		}
	}
	var root *authority
	if rootSecret != nil {
		if err := r.keepSecret(ctx, s.server, rootSecret); err != nil {
			return nil, err
		}
		if root, err = authorityOf(rootSecret); err != nil {
			return nil, err
		}
	}
	s.root = root != nil
	if secret == nil {
		return r.makeIntermediate(ctx, s, root)
	}
	if err := r.keepSecret(ctx, s.server, secret); err != nil {
		return nil, err
	}
	a, err := authorityOf(secret)
	if err != nil {
		return nil, err
	}
	return r.renewIntermediate(ctx, s, root, secret, a)
}

// makeRoot makes the root of an AcmeServer that has none.
func (r *AcmeServerReconciler) makeRoot(ctx context.Context, s *scope) (*corev1.Secret, error) {
	root, err := newRoot(authorityName(s.server, "Root CA"), keyAlgorithm(s.server), rootLifetime(s.server), s.now)
	if err != nil {
		return nil, err
	}
	return r.createSecret(ctx, render.RootSecret(s.server, root.pair))
}

// makeIntermediate makes the intermediate of an AcmeServer that has none.
func (r *AcmeServerReconciler) makeIntermediate(ctx context.Context, s *scope, root *authority) (*authority, error) {
	if !s.now.Before(root.certificate().NotAfter) {
		return nil, blockedf(v1alpha1.ReasonExpired, "the root expired at %s: %s",
			root.certificate().NotAfter.Format(time.RFC3339), howToReplace(s.server))
	}
	key, err := issuance.GenerateKey(issuance.KeyAlgorithm(keyAlgorithm(s.server)))
	if err != nil {
		return nil, err
	}
	a, err := newIntermediate(root, authorityName(s.server, "Intermediate CA"), key, intermediateLifetime(s.server), s.now)
	if err != nil {
		return nil, err
	}
	_, err = r.createSecret(ctx, render.AuthoritySecret(s.server, a.pair))
	if err != nil {
		return nil, err
	}
	s.wake(renewAt(a.certificate()))
	return a, nil
}

// renewIntermediate gives the intermediate's key a new certificate after two
// thirds of the old one's life. The key stays, so that one CRL goes on covering
// all that it signed; who wants another key deletes the Secret.
func (r *AcmeServerReconciler) renewIntermediate(ctx context.Context, s *scope, root *authority, secret *corev1.Secret, old *authority) (*authority, error) {
	due := renewAt(old.certificate())
	switch {
	case s.now.Before(due):
		s.wake(due)
		return old, nil
	case root == nil && s.now.Before(old.certificate().NotAfter):
		return old, nil // it is good until its end, which the condition tells
	case root == nil:
		return nil, blockedf(v1alpha1.ReasonSecretMissing, "the intermediate expired, and the Secret %s is not there to renew it: restore it, or %s",
			render.RootSecretName(s.server), howToReplace(s.server))
	case !old.certificate().NotAfter.Before(root.certificate().NotAfter):
		return old, nil // it lives as long as its root already
	}
	renewed, err := newIntermediate(root, old.certificate().Subject, old.key, intermediateLifetime(s.server), s.now)
	if err != nil {
		return nil, err
	}
	_, err = r.updateSecret(ctx, secret, map[string][]byte{
		corev1.TLSCertKey: renewed.pair.Certificate, render.RootsKey: renewed.pair.Roots,
	})
	if err != nil {
		return nil, err
	}
	s.wake(renewAt(renewed.certificate()))
	return renewed, nil
}

// renewable reports whether the operator will renew what is signed with.
func (s *scope) renewable() bool {
	if !render.SelfSigned(s.server) || !s.root || s.authority == nil || len(s.authority.roots) == 0 {
		return false
	}
	return s.authority.certificate().NotAfter.Before(s.authority.roots[0].NotAfter)
}

// authorityName returns the name of a certificate of the authority.
func authorityName(server *v1alpha1.AcmeServer, role string) pkix.Name {
	name := pkix.Name{CommonName: server.Name + " " + role}
	if c := server.Spec.CA.SelfSigned; c != nil {
		if c.CommonName != "" {
			name.CommonName = c.CommonName + " " + role
		}
		if c.Organization != "" {
			name.Organization = []string{c.Organization}
		}
	}
	return name
}

func keyAlgorithm(server *v1alpha1.AcmeServer) v1alpha1.KeyAlgorithm {
	if c := server.Spec.CA.SelfSigned; c != nil {
		return c.KeyAlgorithm
	}
	return v1alpha1.ECDSAP256
}

func rootLifetime(server *v1alpha1.AcmeServer) time.Duration {
	if c := server.Spec.CA.SelfSigned; c != nil {
		return lifetime(c.RootLifetime, defaultRootLifetime)
	}
	return defaultRootLifetime
}

func intermediateLifetime(server *v1alpha1.AcmeServer) time.Duration {
	if c := server.Spec.CA.SelfSigned; c != nil {
		return lifetime(c.IntermediateLifetime, defaultIntermediateLifetime)
	}
	return defaultIntermediateLifetime
}

func lifetime(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}
