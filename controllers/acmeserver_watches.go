package controllers

import (
	"context"
	"fmt"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// NewScheme returns the kinds that the reconcilers work with.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, certmanagerv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	return scheme, nil
}

// ownedKinds returns the kinds that an AcmeServer owns objects of, Secrets apart.
func ownedKinds() []client.Object {
	return []client.Object{
		&corev1.ConfigMap{}, &corev1.Service{}, &corev1.ServiceAccount{},
		&appsv1.Deployment{}, &appsv1.StatefulSet{},
		&policyv1.PodDisruptionBudget{}, &networkingv1.NetworkPolicy{},
	}
}

// CacheOptions returns what the manager's cache holds: of the owned kinds only
// what bears our label, of Secrets only the names, of CustomResourceDefinitions
// only whether cert-manager's is there. It does not grow with the cluster.
func CacheOptions() cache.Options {
	options := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Transform: onlyName},
			&apiextensionsv1.CustomResourceDefinition{}: {
				Field:     fields.OneTermEqualSelector("metadata.name", clusterIssuerCRD),
				Transform: withoutSchema,
			},
		},
	}
	for _, kind := range ownedKinds() {
		options.ByObject[kind] = cache.ByObject{Label: oursOnly()}
	}
	return options
}

// HeapGrowth is by how many per cent an operator's heap should grow before garbage is
// collected (debug.SetGCPercent). Nearly all of it is the cache, which stays, so that
// Go's default takes as much again; and there is little work that would wait for it.
const HeapGrowth = 50

// oursOnly selects what bears our label.
func oursOnly() labels.Selector {
	return labels.SelectorFromSet(labels.Set{render.LabelManagedBy: render.Operator})
}

// ClientOptions returns how the manager's client reads: Secrets and Certificates live,
// the rest from the cache.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &certmanagerv1.Certificate{}}}}
}

// onlyName leaves of an object what tells that it has changed.
func onlyName(object any) (any, error) {
	o, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	o.ObjectMeta = metav1.ObjectMeta{
		Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion,
	}
	return o, nil
}

// withoutSchema leaves of a CustomResourceDefinition its conditions.
func withoutSchema(object any) (any, error) {
	if crd, ok := object.(*apiextensionsv1.CustomResourceDefinition); ok {
		crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{}
		crd.ManagedFields, crd.Annotations = nil, nil
	}
	return object, nil
}

// secretIndex indexes AcmeServers by the Secrets that they are made of.
const secretIndex = "secrets"

// The waits between two tries of a reconcile that failed: a database that comes
// back is met within half a minute.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// options returns how each controller works, by how many reconciles at once. What is asked
// for first is reconciled first: the library's own queue has what was there at the start
// give way to all that is asked for later, for ever, so that it would not be looked at
// while others keep the operator busy.
func options(atOnce int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: atOnce,
		UsePriorityQueue:        new(false),
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
	}
}

// SetupWithManager lets the reconciler run with a manager whose cache and client
// have the options of [CacheOptions] and [ClientOptions].
func (r *AcmeServerReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.AcmeServer{}, secretIndex, func(o client.Object) []string {
		server, _ := o.(*v1alpha1.AcmeServer)
		return render.SecretNames(server)
	})
	if err != nil {
		return fmt.Errorf("indexing AcmeServers by their Secrets: %w", err)
	}
	o := options(8) // more than databases that are lost will soon keep busy: each does once
	// A cache that does not fill, or an API server that does not answer, keeps nobody busy for ever.
	o.ReconciliationTimeout = time.Minute
	b := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.AcmeServer{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.serversOfSecret)).
		Watches(&apiextensionsv1.CustomResourceDefinition{}, handler.EnqueueRequestsFromMapFunc(r.allServers)).
		WatchesRawSource(source.Channel(r.migrations.ended, &handler.EnqueueRequestForObject{})).
		WithOptions(o)
	for _, kind := range ownedKinds() {
		b = b.Owns(kind)
	}
	c, err := b.Build(r)
	if err != nil {
		return fmt.Errorf("controller of AcmeServers: %w", err)
	}
	if r.Registerer != nil {
		if err := mgr.Add(statusMetrics{r.Client}.onceElected(r.Registerer)); err != nil {
			return fmt.Errorf("metrics of AcmeServers: %w", err)
		}
	}
	return r.watch.setup(c, mgr, r.Namespaces)
}

// serversOfSecret maps a Secret to the AcmeServers that are made of it.
func (r *AcmeServerReconciler) serversOfSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(secret.GetNamespace()), client.MatchingFields{secretIndex: secret.GetName()})
}

// allServers maps whatever concerns every AcmeServer.
func (r *AcmeServerReconciler) allServers(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.requests(ctx)
}

// requests returns a request for each AcmeServer that is listed.
func (r *AcmeServerReconciler) requests(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	var servers v1alpha1.AcmeServerList
	if err := r.Client.List(ctx, &servers, options...); err != nil {
		// The list is one of the cache: it fails only when the cache ends.
		ctrl.LoggerFrom(ctx).Error(err, "listing AcmeServers")
		return nil
	}
	var all []reconcile.Request
	for i := range servers.Items {
		all = append(all, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&servers.Items[i])})
	}
	return all
}

// enqueueIssuersServer maps a ClusterIssuer to the AcmeServer that it says it is of.
func enqueueIssuersServer() handler.TypedEventHandler[*certmanagerv1.ClusterIssuer, reconcile.Request] {
	return handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, issuer *certmanagerv1.ClusterIssuer) []reconcile.Request {
		name := types.NamespacedName{
			Namespace: issuer.Labels[render.LabelServerNamespace], Name: issuer.Labels[render.LabelServerName],
		}
		if name.Name == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: name}}
	})
}
