package controllers

import (
	"context"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// issuedAuthority returns the authority that cert-manager issues, and has it issued
// where that is new. What was issued is signed with until it ends, whatever cert-manager
// says of its renewal meanwhile.
func (r *AcmeServerReconciler) issuedAuthority(ctx context.Context, s *scope) (*authority, error) {
	name := render.IssuedAuthorityName(s.server)
	// Before the Certificate: cert-manager writes over a Secret that is somebody else's.
	secret, err := r.ownSecret(ctx, s.server, name)
	if err != nil {
		return nil, err
	}
	installed, err := r.askForAuthority(ctx, s)
	issued := secret != nil && len(secret.Data[corev1.TLSCertKey]) > 0 // a key alone is made first
	switch {
	case err != nil && (!issued || isBlocked(err)):
		return nil, err
	case err != nil: // such as that cert-manager's webhook does not answer
		s.unasked = err
		s.wake(s.now.Add(lastRetry))
	case !issued && !installed:
		return nil, blockedf(v1alpha1.ReasonCertManagerMissing,
			"cert-manager is not installed, and spec.ca.certManager has it issue the authority: install it, or leave that out")
	case !issued:
		return nil, blockedf(v1alpha1.ReasonProgressing,
			"cert-manager has not issued the Certificate %s yet%s; if that lasts, see `kubectl -n %s describe certificaterequest`", name, failure(s.certificate), s.server.Namespace)
	}
	if len(secret.Data[render.RootsKey]) == 0 {
		return nil, blockedf(v1alpha1.ReasonSecretInvalid,
			"%s %s has issued the Certificate %s without saying by which root (ca.crt in its Secret), which clients are to trust: name another issuer, or make a Secret with ca.crt for spec.ca.secretRef",
			s.server.Spec.CA.CertManager.IssuerRef.Kind, s.server.Spec.CA.CertManager.IssuerRef.Name, name)
	}
	if len(secret.OwnerReferences) == 0 || metav1.IsControlledBy(secret, s.server) { // else cert-manager deletes it, if it is told to
		if err := r.keepSecret(ctx, s.server, secret); err != nil {
			return nil, err
		}
	}
	return authorityOf(secret)
}

// askForAuthority makes the Certificate of the authority, and keeps it as the spec has it,
// where cert-manager is installed.
func (r *AcmeServerReconciler) askForAuthority(ctx context.Context, s *scope) (installed bool, err error) {
	if installed, err = r.certManager(ctx); err != nil || !installed {
		return installed, err
	}
	applied, err := r.apply(ctx, s.server, render.IssuedAuthority(s.server))
	if err != nil {
		return true, err
	}
	s.certificate, _ = applied.(*certmanagerv1.Certificate)
	return true, nil
}

// dropIssuedAuthority ends the renewal of an authority that is not signed with any more.
// Its Secret stays: certificates that it signed are in use.
func (r *AcmeServerReconciler) dropIssuedAuthority(ctx context.Context, s *scope) error {
	if s.server.Spec.CA.CertManager != nil {
		return nil
	}
	name := render.IssuedAuthorityName(s.server)
	known, err := r.watch.knowsCertificate(ctx, client.ObjectKey{Namespace: s.server.Namespace, Name: name})
	if err != nil || !known {
		return err
	}
	return r.remove(ctx, s.server, &certmanagerv1.Certificate{}, name)
}

// failure returns what cert-manager complains of, to be added to a message; "" where it
// is content, or has nothing to say yet.
func failure(c *certmanagerv1.Certificate) string {
	if c == nil {
		return ""
	}
	// What came of an attempt tells more than that the certificate is not there.
	for _, kind := range []certmanagerv1.CertificateConditionType{certmanagerv1.CertificateConditionIssuing, certmanagerv1.CertificateConditionReady} {
		for _, condition := range c.Status.Conditions {
			if condition.Type == kind && condition.Status == cmmeta.ConditionFalse && condition.Message != "" {
				return "; it says: " + condition.Message
			}
		}
	}
	return ""
}
