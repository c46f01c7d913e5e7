//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

func TestDeletedAcmeServerLeavesWhatCannotBeMadeAgainAndANewOneContinuesWithIt(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	spec := v1alpha1.AcmeServerSpec{Validation: trusted()}
	server := n.ready(t, "internal", spec)
	fingerprint := server.Status.CertificateAuthority.Fingerprint

	n.delete(t, server)
	n.awaitLeft(t, server,
		"persistentvolumeclaims "+render.DatabaseVolumeName(server),
		"secrets "+render.AuthoritySecretName(server),
		"secrets "+render.RootSecretName(server),
	)

	server = n.ready(t, "internal", spec)
	if got := server.Status.CertificateAuthority.Fingerprint; got != fingerprint {
		t.Errorf("the new AcmeServer signs with %s; want %s, which the old one left", got, fingerprint)
	}
	n.issue(t, server, "web", "web.example")
}

func TestDeletedAcmeServerLeavesNothingWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{
		Replicas: new(int32(2)), Validation: trusted(), DeletionPolicy: v1alpha1.DeletionDelete,
	})
	n.delete(t, server)
	n.awaitLeft(t, server)
}

// delete deletes an AcmeServer and waits until it is gone.
func (n *namespace) delete(t *testing.T, server *v1alpha1.AcmeServer) {
	t.Helper()
	if err := n.client.Delete(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	await(t, "the AcmeServer is gone", func(ctx context.Context) error {
		err := n.client.Get(ctx, client.ObjectKeyFromObject(server), &v1alpha1.AcmeServer{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is still there"))
	})
}

// awaitLeft waits until the namespace has nothing but what is wanted, and the
// cluster no ClusterIssuer of the AcmeServer.
func (n *namespace) awaitLeft(t *testing.T, server *v1alpha1.AcmeServer, wanted ...string) {
	t.Helper()
	await(t, "nothing is left behind", func(ctx context.Context) error {
		err := n.client.Get(ctx, client.ObjectKey{Name: render.ClusterIssuerName(server)}, &certmanagerv1.ClusterIssuer{})
		if !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("the ClusterIssuer is still there"))
		}
		left, err := n.objects(ctx)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(wanted, left, cmpopts.EquateEmpty()); diff != "" {
			return fmt.Errorf("what is left (-wanted +found):\n%s", diff)
		}
		return nil
	})
}

// objects lists every object of every kind in the namespace, as "resource name",
// but what every namespace has, and events, which Kubernetes forgets by itself.
func (n *namespace) objects(ctx context.Context) ([]string, error) {
	lists, err := n.clientset.Discovery().ServerPreferredNamespacedResources()
	if err != nil {
		return nil, err
	}
	listable := discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "create"}}, lists)
	var found []string
	for _, list := range listable {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			names, err := n.names(ctx, version.WithKind(resource.Kind))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				found = append(found, resource.Name+" "+name)
			}
		}
	}
	slices.Sort(found)
	return slices.DeleteFunc(slices.Compact(found), func(object string) bool {
		return strings.HasPrefix(object, "events ") || object == "configmaps kube-root-ca.crt" || object == "serviceaccounts default"
	}), nil
}

// names lists the objects of a kind in the namespace.
func (n *namespace) names(ctx context.Context, kind schema.GroupVersionKind) ([]string, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	if err := n.client.List(ctx, list, client.InNamespace(n.name)); err != nil {
		return nil, fmt.Errorf("listing %s: %w", kind, err)
	}
	var names []string
	for _, item := range list.Items {
		names = append(names, item.Name)
	}
	return names, nil
}
