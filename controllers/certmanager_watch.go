package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// clusterIssuerCRD is the CustomResourceDefinition that tells whether
// cert-manager is installed.
const clusterIssuerCRD = "clusterissuers.cert-manager.io"

// certManager reports whether cert-manager is installed, and watches its objects while
// it is. Its CRD is watched, so that it is known at once when that changes.
func (r *AcmeServerReconciler) certManager(ctx context.Context) (installed bool, err error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	err = r.Client.Get(ctx, client.ObjectKey{Name: clusterIssuerCRD}, crd)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading CustomResourceDefinition %s: %w", clusterIssuerCRD, err)
	}
	if apierrors.IsNotFound(err) || !serves(crd) {
		r.watch.stop(ctx)
		return false, nil
	}
	return true, r.watch.start()
}

// serves reports whether objects can be made of a definition.
func serves(crd *apiextensionsv1.CustomResourceDefinition) bool {
	if !crd.DeletionTimestamp.IsZero() {
		return false
	}
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// certManagerWatch is the watch on cert-manager's objects, which exists while
// cert-manager does.
type certManagerWatch struct {
	controller controller.Controller
	manager    manager.Manager
	// certificates has the Certificates that bear our label. It is not the manager's
	// cache, whose options must not be of a kind that may not be there.
	certificates cache.Cache
	lock         sync.Mutex
	running      bool
}

// setup lets the watch be of a controller.
func (w *certManagerWatch) setup(c controller.Controller, mgr manager.Manager, namespaces map[string]cache.Config) (err error) {
	w.controller, w.manager = c, mgr
	w.certificates, err = cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultNamespaces: namespaces, DefaultLabelSelector: oursOnly(), DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		return fmt.Errorf("cache of Certificates: %w", err)
	}
	return mgr.Add(w.certificates)
}

// start begins the watch unless it runs. It returns an error, and is called
// again, until the API server serves the kinds.
func (w *certManagerWatch) start() error {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.running {
		return nil
	}
	mapper := w.manager.GetRESTMapper()
	for _, kind := range []schema.GroupVersionKind{render.ClusterIssuerGVK, render.CertificateGVK} {
		if _, err := mapper.RESTMapping(kind.GroupKind(), kind.Version); err != nil {
			return fmt.Errorf("looking for the kind %s: %w", kind.Kind, err)
		}
	}
	ofServers := handler.TypedEnqueueRequestForOwner[*certmanagerv1.Certificate](
		w.manager.GetScheme(), mapper, &v1alpha1.AcmeServer{}, handler.OnlyControllerOwner())
	for _, watch := range []source.SyncingSource{
		source.Kind(w.manager.GetCache(), &certmanagerv1.ClusterIssuer{}, enqueueIssuersServer()),
		source.Kind(w.certificates, &certmanagerv1.Certificate{}, ofServers),
	} {
		if err := w.controller.Watch(loggedSource{watch}); err != nil {
			return fmt.Errorf("watching cert-manager's objects: %w", err)
		}
	}
	w.running = true
	return nil
}

// loggedSource is a source that a log in JSON can tell of: the library logs the source
// itself, which has no JSON.
type loggedSource struct{ source.SyncingSource }

// LogValue implements [slog.LogValuer].
func (s loggedSource) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s.SyncingSource)) }

// stop ends the watch, which would fail for ever without the CRDs.
func (w *certManagerWatch) stop(ctx context.Context) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if !w.running {
		return
	}
	// The errors are those of a cache that is shut down.
	_ = w.manager.GetCache().RemoveInformer(ctx, &certmanagerv1.ClusterIssuer{})
	_ = w.certificates.RemoveInformer(ctx, &certmanagerv1.Certificate{})
	w.running = false
}

// knowsCertificate reports whether there is a Certificate of ours, without asking the API
// server: nearly no AcmeServer has one. It does not wait for a cache that is not filled:
// when that is, whose Certificates there are is reconciled again.
func (w *certManagerWatch) knowsCertificate(ctx context.Context, key client.ObjectKey) (bool, error) {
	w.lock.Lock() // so that the cache is not emptied in between, and then waited for
	defer w.lock.Unlock()
	if !w.running {
		return false, nil
	}
	informer, err := w.certificates.GetInformer(ctx, &certmanagerv1.Certificate{}, cache.BlockUntilSynced(false))
	if err != nil {
		return false, fmt.Errorf("cache of Certificates: %w", err)
	}
	if !informer.HasSynced() {
		return false, nil
	}
	err = w.certificates.Get(ctx, key, &certmanagerv1.Certificate{})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading Certificate %s: %w", key.Name, err)
	}
	return err == nil, nil
}
