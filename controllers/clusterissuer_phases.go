package controllers

import (
	"context"
	"fmt"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// Finalizer is on an AcmeServer while it may have a ClusterIssuer, which the
// garbage collector of Kubernetes cannot remove.
const Finalizer = "acme-ca.dev/cluster-issuer"

// ensureClusterIssuer makes cert-manager's issuer and keeps it current. It is
// first made when a server answers: cert-manager registers at once, and would
// wait long after a failure.
func (r *AcmeServerReconciler) ensureClusterIssuer(ctx context.Context, s *scope) error {
	installed, err := r.certManager(ctx)
	if err != nil {
		return err
	}
	if !installed {
		if !render.ClusterIssuerEnabled(s.server) {
			return r.dropFinalizer(ctx, s.server)
		}
		return blockedf(v1alpha1.ReasonCertManagerMissing,
			"cert-manager is not installed: install it, and the ClusterIssuer %s is made; or set spec.clusterIssuer.enabled to false", render.ClusterIssuerName(s.server))
	}
	if err := r.dropIssuedAuthority(ctx, s); err != nil {
		return err
	}
	if !render.ClusterIssuerEnabled(s.server) {
		if err := r.deleteClusterIssuers(ctx, r.Client, s.server, ""); err != nil {
			return err
		}
		return r.dropFinalizer(ctx, s.server)
	}
	if field := render.ClusterIssuerNotAllowed(s.server, r.Platform); field != "" {
		if err := r.deleteClusterIssuers(ctx, r.Client, s.server, ""); err != nil {
			return err
		}
		return blockedf(v1alpha1.ReasonNotAllowed,
			"%s is not for this namespace to choose, since a ClusterIssuer is of the whole cluster, and what it had is deleted: leave it out, or let the namespace %s be among --cluster-issuer-namespaces of the operator",
			field, s.server.Namespace)
	}
	name := render.ClusterIssuerName(s.server)
	if err := r.deleteClusterIssuers(ctx, r.Client, s.server, name); err != nil {
		return err
	}
	issuer := &certmanagerv1.ClusterIssuer{}
	err = r.Client.Get(ctx, client.ObjectKey{Name: name}, issuer)
	binds := render.BindsClusterIssuer(s.server)
	switch {
	case apierrors.IsNotFound(err) && (availability(s).status != "True" || (binds && !rolledOut(s.deployment))):
		return nil // the status says what is waited for
	case binds && s.binding == nil && !isBound(issuer):
		return nil // there is no key yet
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("reading ClusterIssuer %s: %w", name, err)
	}
	server := withoutNews(s, issuer)
	if err := r.applyClusterIssuer(ctx, s, server); err != nil || server == s.server {
		return err
	}
	return blockedf(v1alpha1.ReasonProgressing, "ClusterIssuer %s asks for the profile, and is bound to its external account, when every server has the present spec", name)
}

// isBound reports whether a ClusterIssuer has an external account.
func isBound(issuer *certmanagerv1.ClusterIssuer) bool {
	return issuer.Spec.ACME != nil && issuer.Spec.ACME.ExternalAccountBinding != nil
}

// withoutNews returns the server of a scope, without what its ClusterIssuer must
// not ask for yet. cert-manager gives up, for an hour, on an order whose profile the
// server that it asks does not know, and for good on a registration with a binding
// that it does not know; and servers of before are asked until the last is gone.
func withoutNews(s *scope, issuer *certmanagerv1.ClusterIssuer) *v1alpha1.AcmeServer {
	acme := issuer.Spec.ACME
	if acme == nil || rolledOut(s.deployment) {
		return s.server
	}
	server := s.server.DeepCopy()
	server.Spec.ClusterIssuer.Profile = acme.Profile
	if !isBound(issuer) {
		server.Spec.ExternalAccounts = nil
	}
	if server.Spec.ClusterIssuer.Profile == s.server.Spec.ClusterIssuer.Profile &&
		render.BindsClusterIssuer(server) == render.BindsClusterIssuer(s.server) {
		return s.server
	}
	return server
}

// rolledOut reports whether there are no pods of a Deployment but ready ones of
// its present spec. Pods that end count, for they answer until the cluster knows:
// a Kubernetes before 1.35 does not tell of them.
func rolledOut(d *appsv1.Deployment) bool {
	return d != nil && d.Status.ObservedGeneration == d.Generation &&
		(d.Status.TerminatingReplicas == nil || *d.Status.TerminatingReplicas == 0) &&
		d.Status.UpdatedReplicas == d.Status.Replicas && d.Status.ReadyReplicas == d.Status.Replicas &&
		d.Spec.Replicas != nil && d.Status.Replicas == *d.Spec.Replicas
}

// applyClusterIssuer applies the issuer of a server, which is the scope's but for
// what has to wait, after the mark that it has to be removed.
func (r *AcmeServerReconciler) applyClusterIssuer(ctx context.Context, s *scope, server *v1alpha1.AcmeServer) error {
	if !controllerutil.ContainsFinalizer(s.server, Finalizer) {
		patch := client.MergeFromWithOptions(s.server.DeepCopy(), client.MergeFromWithOptimisticLock{})
		controllerutil.AddFinalizer(s.server, Finalizer)
		if err := r.Client.Patch(ctx, s.server, patch, client.FieldOwner(render.Operator)); err != nil {
			return fmt.Errorf("adding the finalizer: %w", err)
		}
	}
	bound := render.BindsClusterIssuer(server)
	// Before the issuer: cert-manager reads it at once. Where the servers were not
	// looked at, for want of a database, it is as it was.
	if bound && s.binding != nil {
		if err := r.ensureBinding(ctx, s); err != nil {
			return err
		}
	}
	issuer, err := render.ClusterIssuer(server, s.authority.pair.Roots)
	if err != nil {
		return err
	}
	applied, err := r.apply(ctx, s.server, issuer)
	if err != nil {
		return err
	}
	s.issuer, _ = applied.(*certmanagerv1.ClusterIssuer)
	if !bound || s.issuer == nil {
		return nil
	}
	return r.ownBinding(ctx, s, s.issuer)
}

// deleteClusterIssuers deletes the issuers of an AcmeServer but the one to keep.
func (r *AcmeServerReconciler) deleteClusterIssuers(ctx context.Context, reader client.Reader, server *v1alpha1.AcmeServer, keep string) error {
	var issuers certmanagerv1.ClusterIssuerList
	err := reader.List(ctx, &issuers, client.MatchingLabels(render.ClusterIssuerLabels(server)))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil // cert-manager is gone, and every issuer with it
	}
	if err != nil {
		return fmt.Errorf("listing ClusterIssuers: %w", err)
	}
	for i := range issuers.Items {
		issuer := &issuers.Items[i]
		if issuer.Name == keep || !issuer.DeletionTimestamp.IsZero() {
			continue
		}
		uid := issuer.UID
		err := r.Client.Delete(ctx, issuer, client.Preconditions{UID: &uid})
		if err := client.IgnoreNotFound(err); err != nil {
			return fmt.Errorf("deleting ClusterIssuer %s: %w", issuer.Name, err)
		}
	}
	return nil
}

// finalize removes what the garbage collector of Kubernetes does not: it asks the
// API server, since a cache may not know an issuer that was just made.
func (r *AcmeServerReconciler) finalize(ctx context.Context, server *v1alpha1.AcmeServer) error {
	if !controllerutil.ContainsFinalizer(server, Finalizer) {
		return nil
	}
	if err := r.deleteClusterIssuers(ctx, r.Live, server, ""); err != nil {
		return err
	}
	return r.dropFinalizer(ctx, server)
}

// dropFinalizer lets an AcmeServer be deleted.
func (r *AcmeServerReconciler) dropFinalizer(ctx context.Context, server *v1alpha1.AcmeServer) error {
	if !controllerutil.ContainsFinalizer(server, Finalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(server.DeepCopy(), client.MergeFromWithOptimisticLock{})
	controllerutil.RemoveFinalizer(server, Finalizer)
	err := r.Client.Patch(ctx, server, patch, client.FieldOwner(render.Operator))
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("removing the finalizer: %w", err)
	}
	return nil
}
