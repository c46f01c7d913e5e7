package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// patience is how long a test waits for what should come at once.
const patience = time.Minute

// shared is the cluster of all tests but those that need one of their own. It has
// cert-manager's CRDs.
var shared *cluster

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (int, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return 1, errors.New("KUBEBUILDER_ASSETS is not set: run `make test-controllers`, or `export KUBEBUILDER_ASSETS=$(hack/envtest)`")
	}
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(logOutput(), nil)))
	c, stop, err := startCluster()
	if err != nil {
		return 1, err
	}
	defer stop()
	if err := c.installCertManager(); err != nil {
		return 1, err
	}
	shared = c
	return m.Run(), nil
}

// logOutput is where the operator's log goes: nowhere, unless it is asked for.
func logOutput() io.Writer {
	if os.Getenv("CONTROLLERS_TEST_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}

// cluster is a Kubernetes API with an operator. Nothing runs the pods.
type cluster struct {
	client.Client
	config     *rest.Config
	reconciler *controllers.AcmeServerReconciler
	parts      controllers.Config
	// databases has the error of databases that are down, or who migrates them, by
	// their host.
	databases sync.Map
	// collects has the collections of garbage of databases, by a part of their URL.
	collects sync.Map
	// limits has the limits of databases, by their URL.
	limits sync.Map
	// sent is what the operator asked of the API, and registry has its metrics.
	sent     requests
	registry *prometheus.Registry
}

// startCluster starts a kube-apiserver, an etcd and the operator.
func startCluster() (*cluster, func(), error) {
	environment := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		// Of a busy machine.
		ControlPlaneStartTimeout: 2 * time.Minute,
		CRDInstallOptions:        envtest.CRDInstallOptions{MaxTime: time.Minute},
	}
	// By default there are addresses for 254 Services.
	environment.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/16")
	address, err := environment.Start()
	if err != nil {
		return nil, nil, fmt.Errorf("kube-apiserver and etcd of KUBEBUILDER_ASSETS=%s: %w", os.Getenv("KUBEBUILDER_ASSETS"), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cluster{config: address, registry: prometheus.NewRegistry()}
	done := make(chan error, 1)
	stop := func() {
		cancel()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "the operator:", err)
		}
		_ = environment.Stop()
	}
	if err := c.startOperator(ctx, done); err != nil {
		close(done)
		stop()
		return nil, nil, err
	}
	return c, stop, nil
}

// startOperator starts the operator as cmd/manager does.
func (c *cluster) startOperator(ctx context.Context, done chan<- error) error {
	scheme, err := controllers.NewScheme()
	if err != nil {
		return err
	}
	if c.Client, err = client.New(c.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	counted := rest.CopyConfig(c.config)
	counted.QPS = -1
	counted.Wrap(list)
	counted.Wrap(c.sent.count)
	mgr, err := ctrl.NewManager(counted, ctrl.Options{
		Scheme: scheme, Cache: controllers.CacheOptions(), Client: controllers.ClientOptions(),
		Metrics: metricsserver.Options{BindAddress: "0"},
		// There is one operator for each cluster in this process.
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		return err
	}
	c.parts = controllers.Config{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder(render.Operator),
		Pending: c.pending, Migrate: c.migrate, Registerer: c.registry,
		Platform: render.Platform{ServerImage: "acme:test", DatabaseImage: "postgres:test", ClusterDomain: "cluster.local", OperatorNamespace: "acme-ca-system", CertManagerNamespace: "default", ClusterIssuerNamespaces: []string{freeNamespace}},
	}
	if c.reconciler, err = controllers.New(c.parts); err != nil {
		return err
	}
	if err := c.reconciler.SetupWithManager(ctx, mgr); err != nil {
		return err
	}
	limits, err := controllers.NewRateLimits(c.rateLimits())
	if err != nil {
		return err
	}
	if err := limits.SetupWithManager(ctx, mgr); err != nil {
		return err
	}
	policies, err := controllers.NewRateLimitPolicies(c.reconciler)
	if err != nil {
		return err
	}
	if err := policies.SetupWithManager(mgr); err != nil {
		return err
	}
	garbage, err := controllers.NewGarbage(controllers.GarbageConfig{Servers: c.reconciler, Collect: c.collect})
	if err != nil {
		return err
	}
	if err := garbage.SetupWithManager(mgr); err != nil {
		return err
	}
	go func() { done <- mgr.Start(ctx) }()
	return nil
}

// installCertManager installs cert-manager's CRDs out of its module.
func (c *cluster) installCertManager() error {
	dir, err := moduleDir("github.com/cert-manager/cert-manager")
	if err != nil {
		return err
	}
	// In the order of cert-manager's manifests: the operator takes it for installed with the last.
	for _, kind := range []string{"certificates", "clusterissuers"} {
		_, err = envtest.InstallCRDs(c.config, envtest.CRDInstallOptions{
			Paths:              []string{filepath.Join(dir, "deploy", "crds", "cert-manager.io_"+kind+".yaml")},
			ErrorIfPathMissing: true,
			MaxTime:            time.Minute,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writes lists the requests of one context that change something, and may have them
// all fail.
type writes struct {
	requests []string
	fail     bool
}

// writesKey is where a context has its writes.
type writesKey struct{}

// listed returns a context whose writes are listed.
func listed(ctx context.Context) (context.Context, *writes) {
	w := &writes{}
	return context.WithValue(ctx, writesKey{}, w), w
}

// list lists the writes of a client.
func list(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if w, ok := request.Context().Value(writesKey{}).(*writes); ok && request.Method != http.MethodGet {
			w.requests = append(w.requests, request.Method+" "+request.URL.Path)
			if w.fail {
				return nil, errors.New("the API server is gone")
			}
		}
		return next.RoundTrip(request)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// namespace makes a namespace for a test.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "pki-"}}
	check(t, c.Create(t.Context(), namespace))
	return namespace.Name
}

// apply makes an AcmeServer `internal`, of a namespace of its own.
func (c *cluster) apply(t *testing.T, spec v1alpha1.AcmeServerSpec) *v1alpha1.AcmeServer {
	t.Helper()
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: c.namespace(t)}, Spec: spec}
	check(t, c.Create(t.Context(), server))
	return server
}

// freeNamespace is the one whose AcmeServers choose what their ClusterIssuers are.
const freeNamespace = "free"

// applyFree makes an AcmeServer in freeNamespace.
func (c *cluster) applyFree(t *testing.T, spec v1alpha1.AcmeServerSpec) *v1alpha1.AcmeServer {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: freeNamespace}}
	if err := c.Create(t.Context(), namespace); !apierrors.IsAlreadyExists(err) {
		check(t, err)
	}
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{GenerateName: "internal-", Namespace: freeNamespace}, Spec: spec}
	check(t, c.Create(t.Context(), server))
	return server
}

// change edits an AcmeServer.
func (c *cluster) change(t *testing.T, server *v1alpha1.AcmeServer, edit func(*v1alpha1.AcmeServerSpec)) {
	t.Helper()
	check(t, c.Get(t.Context(), client.ObjectKeyFromObject(server), server))
	patch := client.MergeFrom(server.DeepCopy())
	edit(&server.Spec)
	check(t, c.Patch(t.Context(), server, patch))
}

// get reads an object of an AcmeServer's namespace, waiting until it is there.
func get[T client.Object](t *testing.T, c *cluster, server *v1alpha1.AcmeServer, name string, object T) T {
	t.Helper()
	NewWithT(t).Eventually(func() error {
		return c.Get(t.Context(), client.ObjectKey{Namespace: server.Namespace, Name: name}, object)
	}, patience).Should(Succeed(), "%T %s", object, name)
	return object
}

// gone waits until an object is deleted.
func gone(t *testing.T, c *cluster, server *v1alpha1.AcmeServer, name string, object client.Object) {
	t.Helper()
	NewWithT(t).Eventually(func() bool {
		err := c.Get(t.Context(), client.ObjectKey{Namespace: server.Namespace, Name: name}, object)
		return client.IgnoreNotFound(err) == nil && err != nil
	}, patience).Should(BeTrue(), "%T %s is still there", object, name)
}

// condition waits until a condition has a status and a reason, and returns its message.
func (c *cluster) condition(t *testing.T, server *v1alpha1.AcmeServer, name string, status metav1.ConditionStatus, reason string) string {
	t.Helper()
	var found metav1.Condition
	NewWithT(t).Eventually(func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(server), server); err != nil {
			return err.Error()
		}
		if condition := meta.FindStatusCondition(server.Status.Conditions, name); condition != nil {
			found = *condition
		}
		return fmt.Sprintf("%s %s", found.Status, found.Reason)
	}, patience).Should(Equal(fmt.Sprintf("%s %s", status, reason)), func() string { return name + ": " + found.Message })
	return found.Message
}

// startDatabase does what the StatefulSet controller would: the embedded database
// takes connections.
func (c *cluster) startDatabase(t *testing.T, server *v1alpha1.AcmeServer) {
	t.Helper()
	set := get(t, c, server, render.DatabaseName(server), &appsv1.StatefulSet{})
	set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, Replicas: 1, ReadyReplicas: 1}
	check(t, c.Status().Update(t.Context(), set))
}

// startServers does what the Deployment controller would. There may be servers of
// before that end.
func (c *cluster) startServers(t *testing.T, server *v1alpha1.AcmeServer, ready int32, ending ...int32) {
	t.Helper()
	deployment := get(t, c, server, render.ServerName(server), &appsv1.Deployment{})
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: *deployment.Spec.Replicas, UpdatedReplicas: *deployment.Spec.Replicas,
		ReadyReplicas: ready, AvailableReplicas: ready, TerminatingReplicas: new(int32(0)),
	}
	for _, n := range ending {
		*deployment.Status.TerminatingReplicas += n
	}
	check(t, c.Status().Update(t.Context(), deployment))
}

// register does what cert-manager would.
func (c *cluster) register(t *testing.T, name string) {
	t.Helper()
	issuer := &certmanagerv1.ClusterIssuer{}
	NewWithT(t).Eventually(func() error { return c.Get(t.Context(), client.ObjectKey{Name: name}, issuer) }, patience).Should(Succeed())
	issuer.Status.Conditions = []certmanagerv1.IssuerCondition{{
		Type: certmanagerv1.IssuerConditionReady, Status: cmmeta.ConditionTrue, Reason: "ACMEAccountRegistered",
		ObservedGeneration: issuer.Generation,
	}}
	check(t, c.Status().Update(t.Context(), issuer))
}

// ready makes an AcmeServer with all that it waits for.
func (c *cluster) ready(t *testing.T, spec v1alpha1.AcmeServerSpec) *v1alpha1.AcmeServer {
	t.Helper()
	server := c.apply(t, spec)
	c.start(t, server)
	return server
}

// start lets an AcmeServer have all that it waits for.
func (c *cluster) start(t *testing.T, server *v1alpha1.AcmeServer) {
	t.Helper()
	c.startDatabase(t, server)
	c.startServers(t, server, 1)
	c.register(t, render.ClusterIssuerName(server))
	c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
