package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// What an account had while its word was enough is worth nothing where control has
// to be proved.
func TestWhatWasTrustedIsNoProofOnceControlHasToBeProved(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	trusting := acmetest.StartServer(t, memory, server.Config{})
	before := trusting.NewAccount(t)
	foreign := issueFor(t, trusting.NewAccount(t), "a.example")
	ready := must(before.NewOrder(t.Context(), "a.example"))(t)

	s := acmetest.StartServer(t, memory, server.Config{Validator: &proof{store: memory}, AuthorizationReuse: time.Hour})
	c := must(acmetest.Dial(t.Context(), s.Client(), s.DirectoryURL(), before.Key))(t)
	must(c.NewAccount(t.Context(), nil))(t)
	here := func(url string) string { return strings.Replace(url, trusting.URL, s.URL, 1) }
	ready.URL, ready.Finalize = here(ready.URL), here(ready.Finalize)

	csr := acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")
	_, err := c.Finalize(t.Context(), ready, csr)
	if problemOf(err) != acme.OrderNotReady || !strings.Contains(err.Error(), "make a new order") {
		t.Errorf("finalize of an order that was trusted: %v; want orderNotReady, and what to do", err)
	}
	if resp := revoke(t, c, foreign.cert, 4); resp.Status != http.StatusForbidden {
		t.Errorf("revocation of another account's certificate: %d %s; want it refused", resp.Status, resp.Body)
	}
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	if order.Status != acme.OrderPending || order.Authorizations[0] == here(ready.Authorizations[0]) {
		t.Fatalf("the next order is %+v; want pending, with an authorization of its own", order)
	}
	a := must(c.GetAuthorization(t.Context(), order.Authorizations[0]))(t)
	must(c.Post(t.Context(), a.Challenges[0].URL, map[string]any{}))(t)
	must(c.Finalize(t.Context(), order, csr))(t)
}
