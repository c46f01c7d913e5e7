package server_test

import (
	"encoding/base64"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

func TestAFloodIsRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	s := startLimited(t, server.Config{}, acme.RateLimitPolicy{RequestsPerAddress: acme.Limit{Count: 20, Period: time.Hour}})
	c := s.NewAccount(t)
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			resp, err := c.Do(t.Context(), http.MethodPost, c.Directory.NewOrder, "application/jose+json", []byte("no JWS"))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[resp.Status]++
			if resp.Status != http.StatusBadRequest {
				wantShed(t, resp)
			}
		})
	}
	all.Wait()
	if n := statuses[http.StatusServiceUnavailable]; n < 30 || n == 50 || n+statuses[http.StatusBadRequest] != 50 {
		t.Errorf("statuses %v; want no more than 20 read", statuses)
	}
}

// wantShed checks the refusal of a flood: one that clients retry, whatever they asked for.
func wantShed(t *testing.T, resp *acmetest.Response) {
	t.Helper()
	if resp.Status != http.StatusServiceUnavailable || resp.Problem == nil || resp.Problem.Type != acme.ServerInternal {
		t.Fatalf("%d %s; want 503", resp.Status, resp.Body)
	}
	wantExplained(t, resp, "requestsPerAddress", "127.0.0.1")
}

func TestWhoeverPollsOrFinalizesInAFloodIsToldToComeBackAndIsNotRefused(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	l := ratelimit.New(acme.RateLimitPolicy{})
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{
		Limits: l, Flood: ratelimit.NewFlood(l), Registerer: registry, Meta: server.Meta{RateLimits: "https://docs.example/limits"},
	})
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	nonce := must(c.Nonce(t.Context()))(t)
	one := acme.RateLimitPolicy{RequestsPerAddress: acme.Limit{Count: 1, Period: 100 * 24 * time.Hour}}
	l.Enforce(one)
	must(c.Get(t.Context(), s.DirectoryURL()))(t) // which was the one
	finalize := func() *acmetest.Response {
		csr := base64.RawURLEncoding.EncodeToString(acmetest.NewCSR(t, acmetest.NewKey(t), "a.example"))
		jws := &acmetest.JWS{Key: c.Key, KeyID: c.Account, URL: order.Finalize, Nonce: nonce}
		if err := jws.SetPayload(map[string]string{"csr": csr}); err != nil {
			t.Fatal(err)
		}
		return must(c.PostJWS(t.Context(), order.Finalize, jws))(t)
	}
	for _, url := range []string{order.URL, order.Authorizations[0], order.Finalize} {
		wantShed(t, must(c.Do(t.Context(), http.MethodPost, url, "application/jose+json", []byte("any")))(t))
	}
	wantShed(t, finalize())
	if n := counted(t, registry, "acme_requests_limited_total", "refused"); n != 4 {
		t.Errorf("%v are counted as refused; want 4", n)
	}
	one.DryRun = true
	l.Enforce(one)
	if resp := finalize(); resp.Status != http.StatusOK { // as nothing of the request was read, its nonce is good
		t.Errorf("in a dry run: %d %s", resp.Status, resp.Body)
	}
	if n := counted(t, registry, "acme_requests_limited_total", "dry run"); n != 1 {
		t.Errorf("%v are counted in the dry run; want 1", n)
	}
}

// counted returns the value of a counter of the given name and label.
func counted(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	for _, family := range must(registry.Gather())(t) {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
