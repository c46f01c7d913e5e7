package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// readAlternates reads the chains that clients may choose, and refuses those that the
// servers would not start with. It returns what the condition says of them, or "".
func (r *AcmeServerReconciler) readAlternates(ctx context.Context, s *scope) (string, error) {
	name, key := render.AlternateChains(s.server)
	if name == "" {
		return "", nil
	}
	secret, err := r.secret(ctx, s.server, name)
	if err != nil {
		return "", err
	}
	if secret == nil {
		return "", blockedf(v1alpha1.ReasonSecretMissing,
			"the Secret %s of spec.ca.alternateChainsRef does not exist: make it, with the key %s", name, key)
	}
	chains := secret.Data[key]
	if len(chains) == 0 {
		return "", blockedf(v1alpha1.ReasonSecretMissing,
			"the Secret %s of spec.ca.alternateChainsRef has no key %s: add it, or name another with spec.ca.alternateChainsRef.key", name, key)
	}
	end, err := checkAlternates(s, chains)
	if err != nil {
		return "", blockedf(v1alpha1.ReasonSecretInvalid, "the Secret %s of spec.ca.alternateChainsRef has in %s what no server starts with: %s: %s",
			name, key, err, howToCorrectAlternates(s.server))
	}
	s.alternates = chains
	when, what := "ends", "before"
	if s.now.After(end) {
		when, what = "ended", "as no server that starts now serves it"
	}
	return fmt.Sprintf("; the first of the alternate chains %s at %s: replace it in the Secret %s, %s", when, end.UTC().Format(time.RFC3339), name, what), nil
}

// checkAlternates checks chains as the servers do at their start, and returns when the
// first certificate of them ends. Another look is taken whenever time alone changes what
// becomes of them.
func checkAlternates(s *scope, chains []byte) (end time.Time, err error) {
	certificates, err := issuance.ParseCertificates(chains)
	if err != nil {
		return end, err
	}
	for _, c := range certificates {
		for _, t := range []time.Time{c.NotBefore, c.NotAfter} {
			if !s.now.After(t) {
				s.wake(t)
			}
		}
	}
	if _, err := issuance.AlternateChains(s.authority.certificate(), certificates, s.now); err != nil {
		return end, err
	}
	return issuance.EndOf(certificates), nil
}

// howToCorrectAlternates says what chains the servers would take. The issuing
// certificate may be another than the one that they were made for.
func howToCorrectAlternates(server *v1alpha1.AcmeServer) string {
	return fmt.Sprintf("each chain must begin with what is now the first certificate of tls.crt of the Secret %s, or with one of its key and subject "+
		"that another authority signed, and go on with the issuer of each; correct it, or remove spec.ca.alternateChainsRef", render.AuthoritySecretName(server))
}
