package generator_test

import (
	"crypto/x509"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
	"github.com/acme-ca/acme-ca-operator/acme/validation"
	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// short is how long the tests make load.
const short = 100 * time.Millisecond

// trusting returns a configuration for a server that trusts its accounts.
func trusting(t *testing.T) generator.Config {
	t.Helper()
	return configFor(t, acmetest.StartServer(t, acmetest.NewMemory(), server.Config{}))
}

// proving returns a configuration for a server that has names proved.
func proving(t *testing.T) generator.Config {
	t.Helper()
	responders, err := generator.ServeResponders("127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = responders.Close() })
	memory := acmetest.NewMemory()
	worker, err := validation.New(validation.Config{
		Queue: memory, Resolvers: []string{responders.DNS.Address()}, HTTP01Port: responders.HTTP01.Port(),
		Networks: validation.Networks{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = worker.Run(t.Context()) }()
	c := configFor(t, acmetest.StartServer(t, memory, server.Config{Validator: worker}))
	c.Mode, c.Responders = generator.HTTP01, responders
	return c
}

// configFor returns a configuration of a small load.
func configFor(t *testing.T, s *acmetest.Server) generator.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return generator.Config{DirectoryURL: s.DirectoryURL(), Roots: roots, Accounts: 3, Workers: 2, Orders: ordersFor(t, 1)}
}

// ordersFor returns orders for so many names each.
func ordersFor(t *testing.T, identifiers int) *generator.Orders {
	t.Helper()
	orders, err := generator.MakeOrders(50, identifiers)
	if err != nil {
		t.Fatal(err)
	}
	return orders
}

// run makes load for a moment.
func run(t *testing.T, c generator.Config) *generator.Result {
	t.Helper()
	g, err := generator.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	return g.Run(t.Context(), short)
}

// succeeded fails the test unless there were flows, and none failed.
func succeeded(t *testing.T, r *generator.Result) {
	t.Helper()
	if r.Flows() == 0 || r.Failed() != 0 {
		t.Fatalf("%d flows, and failures %v (%v); want some, and none", r.Flows(), r.Failures, r.LastFailure)
	}
}

// counts returns how often each step was taken.
func counts(r *generator.Result) map[generator.Step]int {
	n := map[generator.Step]int{}
	for step, latencies := range r.Latencies {
		n[step] = len(latencies)
	}
	return n
}

func TestEveryStepOfATrustedFlowIsTimedOnce(t *testing.T) {
	t.Parallel()
	for _, keys := range []generator.KeyAlgorithm{generator.ES256, generator.RS256} {
		c := trusting(t)
		c.Keys, c.Accounts = keys, 1 // two workers share it
		r := run(t, c)
		succeeded(t, r)
		n := r.Flows()
		want := map[generator.Step]int{generator.NewOrder: n, generator.Finalize: n, generator.Certificate: n, generator.Flow: n}
		if diff := cmp.Diff(want, counts(r)); diff != "" {
			t.Errorf("%s: steps (-want +got):\n%s", keys, diff)
		}
	}
}

func TestEveryNameIsProvedByHTTP01(t *testing.T) {
	t.Parallel()
	c := proving(t)
	c.Orders = ordersFor(t, 3)
	r := run(t, c)
	succeeded(t, r)
	n := counts(r)
	if want := 3 * r.Flows(); n[generator.Authorization] != want || n[generator.Challenge] != want {
		t.Errorf("%d flows for three names have the steps %v; want three authorizations and challenges each", r.Flows(), n)
	}
	if got := c.Responders.HTTP01.Requests(); got < 3*r.Flows() {
		t.Errorf("the responder was asked %d times in %d flows for three names", got, r.Flows())
	}
}

func TestARenewalAsksAndReplacesTheCertificateBefore(t *testing.T) {
	t.Parallel()
	c := trusting(t)
	c.Renew, c.Accounts, c.Workers = true, 1, 1
	g, err := generator.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	succeeded(t, g.Run(t.Context(), short))
	r := g.Run(t.Context(), short) // goes on with the account's certificate
	succeeded(t, r)
	if got := counts(r)[generator.RenewalInfo]; got != r.Flows() {
		t.Errorf("%d of %d flows asked for renewal information; want all", got, r.Flows())
	}
}

func TestAnOpenLoopBeginsAsManyFlowsAsItIsTold(t *testing.T) {
	t.Parallel()
	c := trusting(t)
	c.Rate = 200
	r := run(t, c)
	succeeded(t, r)
	if got := r.Flows() + r.Missed; got != 20 {
		t.Errorf("%d flows and %d missed in %s at 200 in a second; want 20 together", r.Flows(), r.Missed, short)
	}
}

func TestAnOpenLoopCountsTheTimeInWhichAFlowCouldNotBegin(t *testing.T) {
	t.Parallel()
	c := trusting(t)
	c.Rate, c.Workers = 1e6, 1 // all but at once, and far more than one worker can
	r := run(t, c)
	succeeded(t, r)
	if longest := r.Latencies[generator.Flow].Percentile(100); longest < r.Elapsed/2 || r.Missed == 0 {
		t.Errorf("the longest flow of %s took %s, and %d were missed; want the time in the queue too", r.Elapsed, longest, r.Missed)
	}
}

func TestFailuresAreCountedByProblem(t *testing.T) {
	t.Parallel()
	c := trusting(t)
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{Names: server.NamePolicy{DenyDNS: []string{"*.test"}}})
	c.DirectoryURL = s.DirectoryURL()
	r := run(t, c)
	refused := generator.Failure{Step: generator.NewOrder, Problem: string(acme.RejectedIdentifier)}
	if r.Flows() != 0 || r.Failures[refused] == 0 || r.Failures[refused] != r.Failed() || r.LastFailure == nil {
		t.Errorf("%d flows, failures %v (%v); want %v only", r.Flows(), r.Failures, r.LastFailure, refused)
	}
}

func TestAServerThatDoesNotTrustFailsATrustedRun(t *testing.T) {
	t.Parallel()
	c := proving(t)
	c.Mode = generator.Trusted
	r := run(t, c)
	if r.Flows() != 0 || r.Failed() == 0 {
		t.Errorf("%d flows, %d failed; want failures only", r.Flows(), r.Failed())
	}
}

func TestAConnectionThatTheServerClosesIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{})
	var requests atomic.Int64
	handler := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%3 == 0 {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
	succeeded(t, run(t, configFor(t, s)))
}

func TestWhatIsWrongWithAConfigurationIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]generator.Config{
		"no such mode":           {Mode: "dns-01"},
		"http-01 and no answers": {Mode: generator.HTTP01},
		"no such keys":           {Keys: "ES512"},
		"no workers":             {Workers: -1},
		"a rate below nothing":   {Rate: -1},
	} {
		if _, err := generator.New(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, identifiers := range []int{0, 101} {
		if _, err := generator.MakeOrders(1, identifiers); err == nil {
			t.Errorf("orders for %d names: no error", identifiers)
		}
	}
}
