package server_test

import (
	"net/http"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// twoServers returns clients of one account at two servers with one store, both of
// which remember it.
func twoServers(t *testing.T) (one, other *acmetest.Client) {
	t.Helper()
	store := acmetest.NewMemory()
	key := acmetest.NewKey(t)
	var clients []*acmetest.Client
	for range 2 {
		s := acmetest.StartServer(t, store, server.Config{})
		c := must(acmetest.Dial(t.Context(), s.Client(), s.DirectoryURL(), key))(t)
		must(c.NewAccount(t.Context(), nil))(t)
		must(c.NewOrder(t.Context(), "before.example"))(t)
		clients = append(clients, c)
	}
	return clients[0], clients[1]
}

func TestAServerThatRemembersAnAccountHearsOfItsNewKey(t *testing.T) {
	t.Parallel()
	one, other := twoServers(t)
	next := acmetest.NewKey(t)
	if resp := changeKey(t, one, next, nil); resp.Status != http.StatusOK {
		t.Fatalf("status %d, %s", resp.Status, resp.Body)
	}
	if _, err := other.NewOrder(t.Context(), "old.example"); err == nil {
		t.Error("the other server takes the old key")
	}
	other.Key = next
	if _, err := other.NewOrder(t.Context(), "new.example"); err != nil {
		t.Errorf("the other server does not take the new key: %v", err)
	}
}

func TestAServerThatRemembersAnAccountHearsOfItsEnd(t *testing.T) {
	t.Parallel()
	one, other := twoServers(t)
	must(one.Post(t.Context(), one.Account, map[string]any{"status": "deactivated"}))(t)
	resp := newOrder(t, other, nil, "late.example")
	if resp.Status != http.StatusUnauthorized || resp.Problem.Type != acme.Unauthorized {
		t.Errorf("status %d, %s", resp.Status, resp.Body)
	}
}

func TestARequestThatWasRefusedHasUsedItsNonce(t *testing.T) {
	t.Parallel()
	c, _ := twoServers(t)
	for name, payload := range map[string]any{
		"by the endpoint, before the store is asked": map[string]any{"identifiers": []acme.Identifier{}},
		"by the route, which is only read":           nil,
	} {
		t.Run(name, func(t *testing.T) {
			url := c.Directory.NewOrder
			if payload == nil {
				url, payload = must(c.NewOrder(t.Context(), "read.example"))(t).URL, map[string]any{}
			}
			nonce := must(c.Nonce(t.Context()))(t)
			for _, want := range []acme.ProblemType{acme.Malformed, acme.BadNonce} {
				jws := &acmetest.JWS{Key: c.Key, URL: url, KeyID: c.Account, Nonce: nonce}
				if err := jws.SetPayload(payload); err != nil {
					t.Fatal(err)
				}
				resp := must(c.Do(t.Context(), http.MethodPost, url, "application/jose+json", must(jws.Encode())(t)))(t)
				if resp.Problem == nil || resp.Problem.Type != want {
					t.Errorf("status %d, %s; want %s", resp.Status, resp.Body, want)
				}
			}
		})
	}
}
