package controllers

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// ensureServer applies the servers. The Deployment is last: a pod finds what it
// needs.
func (r *AcmeServerReconciler) ensureServer(ctx context.Context, s *scope) error {
	config, err := render.Config(s.server, r.Platform)
	if err != nil {
		return blockedf(v1alpha1.ReasonRejected, "%s: correct the spec", err)
	}
	mounted, err := r.externalAccounts(ctx, s)
	if err != nil {
		return err
	}
	mounted = append([]*corev1.Secret{s.databaseFiles, authorityFiles(s)}, mounted...)
	for _, object := range []any{
		render.ServiceAccount(s.server), render.ConfigMap(s.server, config), render.Service(s.server),
	} {
		if _, err := r.apply(ctx, s.server, object); err != nil {
			return err
		}
	}
	if err := r.ensurePolicies(ctx, s.server); err != nil {
		return err
	}
	deployment, err := render.Deployment(s.server, r.Platform, render.Digest(config, mounted...))
	if err != nil {
		return err
	}
	applied, err := r.apply(ctx, s.server, deployment)
	if err != nil {
		return err
	}
	s.deployment, _ = applied.(*appsv1.Deployment)
	return nil
}

// authorityFiles returns what the servers' pods mount of the authority.
func authorityFiles(s *scope) *corev1.Secret {
	pair := s.authority.pair
	files := map[string][]byte{
		corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key, render.RootsKey: pair.Roots,
	}
	if s.alternates != nil {
		files[render.AlternateChainsKey] = s.alternates
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: render.AuthoritySecretName(s.server)}, Data: files}
}

// ensurePolicies applies what only some AcmeServers have, and removes it from the
// others.
func (r *AcmeServerReconciler) ensurePolicies(ctx context.Context, server *v1alpha1.AcmeServer) error {
	var err error
	if budget := render.PodDisruptionBudget(server); budget != nil {
		_, err = r.apply(ctx, server, budget)
	} else {
		err = r.remove(ctx, server, &policyv1.PodDisruptionBudget{}, render.ServerName(server))
	}
	if err != nil {
		return err
	}
	policy, err := render.NetworkPolicy(server)
	if err != nil {
		return err
	}
	if policy == nil {
		return r.remove(ctx, server, &networkingv1.NetworkPolicy{}, render.ServerName(server))
	}
	_, err = r.apply(ctx, server, policy)
	return err
}
