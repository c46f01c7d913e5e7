//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// unfinished is more orders than the strict sample lets an account have at once.
const unfinished = 6

func TestChangedPolicyIsEnforcedByEveryServer(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := n.ready(t, "internal", v1alpha1.AcmeServerSpec{
		Replicas: new(int32(3)), Validation: trusted(), ClusterIssuer: v1alpha1.ClusterIssuerSpec{Enabled: new(false)},
		RateLimitPolicyRef: &v1alpha1.RateLimitPolicyReference{Name: "strict"},
	})
	n.awaitCondition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, v1alpha1.ReasonPolicyMissing, "AcmeRateLimitPolicy strict")
	clients := n.clients(t, server)
	if len(clients) != 3 {
		t.Fatalf("there are %d servers; want 3", len(clients))
	}
	for i := range unfinished {
		if _, err := clients[i%len(clients)].NewOrder(t.Context(), fmt.Sprintf("before%d.example", i)); err != nil {
			t.Fatal(err) // the built-in limits are wider
		}
	}

	sample := filepath.Join(n.root, "config", "samples", "acmeratelimitpolicy_strict.yaml")
	refusals := n.whileApplied(t, clients, http.StatusTooManyRequests, "the strict sample", "apply", "-f", sample)
	for _, refusal := range refusals {
		checkRefusal(t, refusal)
	}
	p := &v1alpha1.AcmeRateLimitPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: n.name, Name: "strict"}}
	n.awaitEnforced(t, p, "3 of 3 servers of AcmeServer internal enforce generation 1")

	const wider = `{"spec": {"concurrentOrdersPerAccount": {"count": 1000}}}`
	n.whileApplied(t, clients, http.StatusCreated, "a wider limit", "patch", "acmerl", "strict", "--type=merge", "-p", wider)
	n.awaitEnforced(t, p, "3 of 3 servers of AcmeServer internal enforce generation 2")
	n.awaitCondition(t, server, v1alpha1.ConditionRateLimitPolicyEnforced, v1alpha1.ReasonEnforced, "3 of 3 servers")
}

// checkRefusal checks what a client is told that has too many orders at once.
func checkRefusal(t *testing.T, r *acmetest.Response) {
	t.Helper()
	if r.Problem == nil || r.Problem.Type != acme.RateLimited || !strings.HasPrefix(r.Problem.Detail, "concurrentOrdersPerAccount: 5 at once for ") {
		t.Errorf("it is refused with %s", r.Body)
	}
	if after, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || after < 1 {
		t.Errorf("Retry-After is %q", r.Header.Get("Retry-After"))
	}
	if links := strings.Join(r.Header.Values("Link"), ", "); !strings.Contains(links, `ratelimits.md>;rel="help"`) {
		t.Errorf("the links are %s", links)
	}
}

// whileApplied runs kubectl, and orders of every server until each answers with a
// status; it returns these answers. The time that took is logged: it is a figure,
// not a check.
func (n *namespace) whileApplied(t *testing.T, clients []*acmetest.Client, status int, what string, args ...string) []*acmetest.Response {
	t.Helper()
	answers, times := make([]*acmetest.Response, len(clients)), make([]time.Time, len(clients))
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begun := time.Now()
	for i, c := range clients {
		all.Go(func() {
			// Not as fast as they can: the limit of orders at once that is built in is not to be met.
			pause := time.NewTicker(50 * time.Millisecond)
			defer pause.Stop()
			for attempt := 0; ctx.Err() == nil; attempt++ {
				<-pause.C
				r, err := c.Post(ctx, c.Directory.NewOrder, map[string]any{
					"identifiers": []acme.Identifier{{Type: acme.DNS, Value: fmt.Sprintf("a%d.b%d.example", i, attempt)}},
				})
				if err != nil {
					t.Error(err)
					return
				}
				if r.Status == status {
					answers[i], times[i] = r, time.Now()
					return
				}
			}
		})
	}
	if _, err := n.run(ctx, nil, append([]string{"-n", n.name}, args...)...); err != nil {
		t.Fatal(err)
	}
	applied := time.Now()
	all.Wait()
	var last time.Time
	for i, at := range times {
		if answers[i] == nil {
			t.Fatalf("server %d does not answer %d after %s", i, status, what)
		}
		if at.After(last) {
			last = at
		}
	}
	t.Logf("%s: enforced by %d servers %d ms after kubectl had applied it, which took %d ms",
		what, len(clients), last.Sub(applied).Milliseconds(), applied.Sub(begun).Milliseconds())
	return answers
}

// awaitEnforced waits until a policy says that it is enforced.
func (n *namespace) awaitEnforced(t *testing.T, p *v1alpha1.AcmeRateLimitPolicy, message string) {
	t.Helper()
	await(t, "the policy is enforced", func(ctx context.Context) error {
		if err := n.client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionEnforced)
		if c == nil || c.Status != metav1.ConditionTrue || c.Message != message {
			return fmt.Errorf("Enforced is %+v", c)
		}
		return nil
	})
}

// clients returns an ACME client for each server of an AcmeServer, all of one account.
func (n *namespace) clients(t *testing.T, server *v1alpha1.AcmeServer) []*acmetest.Client {
	t.Helper()
	api, err := rest.TransportFor(n.config)
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(n.config.Host)
	if err != nil {
		t.Fatal(err)
	}
	base.Path = "/"
	key := acmetest.NewKey(t)
	var clients []*acmetest.Client
	for _, pod := range n.servers(t, server) {
		through := &http.Client{Transport: &podTransport{api: api, pod: base.JoinPath(
			"api", "v1", "namespaces", n.name, "pods", "https:"+pod.Name+":8443", "proxy")}}
		c, err := acmetest.Dial(t.Context(), through, render.DirectoryURL(server), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.NewAccount(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	return clients
}

// podTransport sends requests for the Service to one pod of it, through the API
// server. What is signed is the Service's URL.
type podTransport struct {
	api http.RoundTripper
	pod *url.URL
}

// RoundTrip sends a request.
func (p *podTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL = p.pod.JoinPath(r.URL.EscapedPath())
	r.Host = ""
	return p.api.RoundTrip(r)
}
