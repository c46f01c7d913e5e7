package controllers_test

import (
	"flag"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// fleetSize is how many AcmeServers the fleet has. docs/performance.md has the
// figures of a thousand: go test ./controllers -run Fleet -v -servers 1000 -timeout 30m.
var fleetSize = flag.Int("servers", 20, "how many AcmeServers the test of a fleet has")

// requests counts what a client sends, by whether it changes anything.
type requests struct{ reads, writes atomic.Int64 }

// count counts the requests of a client.
func (r *requests) count(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.Method == http.MethodGet {
			r.reads.Add(1)
		} else {
			r.writes.Add(1)
		}
		return next.RoundTrip(request)
	})
}

// A cluster of its own: what is counted is all that its operator sends.
func TestAFleetOfServersBecomesReadyAndThenCostsNoWrite(t *testing.T) {
	c, stop, err := startCluster()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	check(t, c.installCertManager())

	defer debug.SetGCPercent(debug.SetGCPercent(controllers.HeapGrowth))
	before, start := heap(), time.Now()
	servers := make([]*v1alpha1.AcmeServer, *fleetSize)
	var raise errgroup.Group
	raise.SetLimit(16)
	for i := range servers {
		raise.Go(func() error {
			servers[i] = c.raise(t)
			return nil
		})
	}
	check(t, raise.Wait())
	if t.Failed() { // one that is missing has ended its goroutine, not the test
		t.FailNow()
	}
	n := float64(len(servers))
	after := heap()
	t.Logf("%d servers ready in %s; each %.1f reads and %.1f writes; heap %.0f MiB, of which %.0f MiB are objects, %.0f KiB for each",
		len(servers), time.Since(start), float64(c.sent.reads.Load())/n, float64(c.sent.writes.Load())/n,
		float64(after.HeapInuse)/(1<<20), float64(after.HeapAlloc)/(1<<20), float64(after.HeapAlloc-before.HeapAlloc)/n/(1<<10))

	// What a resync does: every server is looked at again.
	var allocated runtime.MemStats
	runtime.ReadMemStats(&allocated)
	mallocs, resync := allocated.Mallocs, time.Now()
	for _, s := range servers {
		ctx, written := listed(t.Context())
		if _, err := c.reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)}); err != nil {
			t.Errorf("%s: %v", s.Namespace, err)
		}
		if len(written.requests) > 0 {
			t.Errorf("%s: a reconcile with nothing to do writes %v", s.Namespace, written.requests)
		}
	}
	took := time.Since(resync)
	runtime.ReadMemStats(&allocated)
	t.Logf("a reconcile with nothing to do takes %s and %.0f allocations", took/time.Duration(len(servers)), float64(allocated.Mallocs-mallocs)/n)
	NewWithT(t).Eventually(func() int { return c.measuredReady(t) }, patience).Should(Equal(len(servers)), "ready, by the metrics")
}

// measuredReady counts the AcmeServers that are ready by the operator's metrics.
func (c *cluster) measuredReady(t *testing.T) (ready int) {
	t.Helper()
	families, err := c.registry.Gather()
	check(t, err)
	for _, family := range families {
		if family.GetName() != "acme_operator_condition" {
			continue
		}
		for _, metric := range family.Metric {
			for _, label := range metric.Label {
				if label.GetName() == "condition" && label.GetValue() == v1alpha1.ConditionReady {
					ready += int(metric.GetGauge().GetValue())
				}
			}
		}
	}
	return ready
}

// raise makes an AcmeServer and does what the other controllers would, until it is ready.
func (c *cluster) raise(t *testing.T) *v1alpha1.AcmeServer {
	t.Helper()
	server := c.apply(t, v1alpha1.AcmeServerSpec{})
	defer func() {
		if t.Failed() {
			_ = c.Get(t.Context(), client.ObjectKeyFromObject(server), server)
			t.Logf("%s: %+v", server.Namespace, server.Status.Conditions)
		}
	}()
	c.startDatabase(t, server)
	c.startServers(t, server, 1)
	c.register(t, render.ClusterIssuerName(server))
	c.condition(t, server, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	return server
}

// heap returns what the heap has after a collection of garbage.
func heap() (m runtime.MemStats) {
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}
