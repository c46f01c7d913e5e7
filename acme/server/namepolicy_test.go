package server_test

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/nonce"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

func TestOnlyWhatThePolicyAllowsIsOrdered(t *testing.T) {
	t.Parallel()
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{Names: server.NamePolicy{
		AllowDNS: []string{"*.corp.example", "one.example"}, DenyDNS: []string{"*.secret.corp.example", "ca.corp.example"},
		AllowIP: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, DenyIP: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
		MaxLabels: 6,
	}})
	c := s.NewAccount(t)
	for value, allowed := range map[string]bool{
		"a.corp.example": true, "a.b.corp.example": true, "*.corp.example": false, "*.b.corp.example": true,
		"corp.example": false, "one.example": true, "*.one.example": false, "two.example": false, "evilcorp.example": false,
		"ca.corp.example": false, "x.ca.corp.example": true, "a.secret.corp.example": false, "secret.corp.example": true,
		"*.secret.corp.example": false, "a.b.c.d.corp.example": true, "a.a.a.a.a.corp.example": false,
		"10.1.2.3": true, "10.0.0.1": false, "192.0.2.1": false,
	} {
		id := acme.Identifier{Type: acme.DNS, Value: value}
		if _, err := netip.ParseAddr(value); err == nil {
			id.Type = acme.IP
		}
		resp := must(c.Post(t.Context(), c.Directory.NewOrder, map[string]any{"identifiers": []acme.Identifier{id}}))(t)
		if got := problemType(resp); (got == "") != allowed || (!allowed && got != acme.RejectedIdentifier) {
			t.Errorf("%s: status %d, %s; want allowed %v", value, resp.Status, resp.Body, allowed)
		}
		if !allowed && (resp.Problem.Identifier != nil || !strings.Contains(resp.Problem.Detail, value) || !strings.Contains(resp.Problem.Detail, "policy")) {
			t.Errorf("%s: problem %+v; want the identifier, which subproblems alone have as a member, and the policy in its detail", value, resp.Problem)
		}
	}
}

func TestAWildcardIsDeniedWithTheNamesThatItStandsForAndNoOthers(t *testing.T) {
	t.Parallel()
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{Names: server.NamePolicy{
		DenyDNS: []string{"*.secret.corp.example", "a.deep.corp.example", "a.b.c.corp.example"},
	}})
	c := s.NewAccount(t)
	for name, allowed := range map[string]bool{
		"*.corp.example": true, "*.example": true, "*.secret.corp.example": false, "*.x.secret.corp.example": false,
		"*.deep.corp.example": false, "*.c.corp.example": true, "*.b.c.corp.example": false, "*.a.deep.corp.example": true,
	} {
		if _, err := c.NewOrder(t.Context(), name); (err == nil) != allowed {
			t.Errorf("%s: %v; want allowed %v", name, err, allowed)
		}
	}
}

func TestTheServersOwnNamesAreNotIssuedForWhereNothingIsProved(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	for _, config := range []server.Config{{}, {Validator: &proof{store: memory}}} {
		s := acmetest.StartServer(t, memory, config)
		authority := acmetest.NewAuthority(t)
		config.Store, config.Issuer, config.Trusted = memory, authority, config.Validator == nil
		config.Nonces = must(nonce.New(t.Context(), nonce.Config{Keys: memory}))(t)
		config.URLs = []string{s.URL, "https://internal.pki.svc", "https://acme.internal.pki.svc:8443"}
		c := s.NewAccount(t)
		c.HTTP = &http.Client{Transport: &bubble{Server: must(server.New(config))(t)}}
		for name, own := range map[string]bool{
			"internal.pki.svc": true, "*.pki.svc": true, "acme.internal.pki.svc": true, "*.internal.pki.svc": true,
			"other.pki.svc": false, "*.svc": false, "pki.svc": false,
		} {
			resp := must(c.Post(t.Context(), c.Directory.NewOrder, map[string]any{"identifiers": []acme.Identifier{{Type: acme.DNS, Value: name}}}))(t)
			if refused := problemType(resp) == acme.RejectedIdentifier; refused != (own && config.Trusted) {
				t.Errorf("%s, trusted %v: status %d, %s", name, config.Trusted, resp.Status, resp.Body)
			}
		}
	}
}

func TestAPolicyThatWasTightenedHoldsForOrdersOfBefore(t *testing.T) {
	t.Parallel()
	memory, names := acmetest.NewMemory(), []string{"a.example", "b.example", "c.example"}
	before := acmetest.StartServer(t, memory, server.Config{})
	c := before.NewAccount(t)
	order := must(c.NewOrder(t.Context(), names...))(t)
	csr := acmetest.NewCSR(t, acmetest.NewKey(t), names...)
	finalize := func(denied ...string) *acmetest.Response {
		after := must(server.New(server.Config{
			Store: memory, Nonces: must(nonce.New(t.Context(), nonce.Config{Keys: memory}))(t), Issuer: before.Authority, Trusted: true,
			URLs: []string{before.URL}, Names: server.NamePolicy{DenyDNS: denied},
		}))(t)
		c.HTTP = &http.Client{Transport: &bubble{Server: after}}
		return must(c.Post(t.Context(), order.Finalize, map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)}))(t)
	}
	if resp := finalize("a.example", "b.example"); problemType(resp) != acme.RejectedIdentifier || len(resp.Problem.Subproblems) != 2 {
		t.Errorf("status %d, %s; want rejectedIdentifier with two subproblems", resp.Status, resp.Body)
	}
	if resp := finalize("a.example"); problemType(resp) != acme.RejectedIdentifier || !strings.Contains(resp.Problem.Detail, "a.example") {
		t.Errorf("status %d, %s; want rejectedIdentifier of a.example", resp.Status, resp.Body)
	}
	if resp := finalize(); resp.Status != http.StatusOK {
		t.Errorf("the policy was loosened again: status %d, %s", resp.Status, resp.Body)
	}
}

func TestANameThatRepeatsItselfIsRefused(t *testing.T) {
	t.Parallel()
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{Names: server.NamePolicy{MaxRepeats: 2}})
	c := s.NewAccount(t)
	for name, repeated := range map[string]string{
		"www.www.example": "", "a.b.a.b.example": "", "a.b.a.c.a.b.example": "", "a.a.b.b.c.c.example": "",
		"example.example": "", "a.aa.aaa.example": "", "*.a.a.example": "",
		"www.www.www.example": "www", "x.www.www.www.www.example": "www", "a.b.a.b.a.b.example": "a.b",
		"x.a.b.c.a.b.c.a.b.c": "a.b.c", "*.a.a.a.example": "a", "a.b.b.b": "b",
	} {
		_, err := c.NewOrder(t.Context(), name)
		if (err != nil) != (repeated != "") || (err != nil && !strings.Contains(err.Error(), `"`+repeated+`" more often than 2 times in a row`)) {
			t.Errorf("%s: %v; want %q repeated", name, err, repeated)
		}
	}
}
