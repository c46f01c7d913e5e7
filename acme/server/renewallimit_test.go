package server_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// oneOrder is a policy by which an account that has ordered once has to renew.
func oneOrder() acme.RateLimitPolicy {
	return acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{acme.OrdersPerAccount: {Count: 1, Period: 1000 * time.Hour}}}
}

// issue makes a certificate, by an order that replaces another where that is not empty.
func issue(t *testing.T, c *acmetest.Client, replaces string, names ...string) *x509.Certificate {
	t.Helper()
	resp := newOrder(t, c, map[string]any{"replaces": replaces}, names...)
	if resp.Status != http.StatusCreated {
		t.Fatalf("%d %s; want an order", resp.Status, resp.Body)
	}
	order := must(c.GetOrder(t.Context(), resp.Header.Get("Location")))(t)
	order = must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), names...)))(t)
	block, _ := pem.Decode(must(c.Post(t.Context(), order.Certificate, nil))(t).Body)
	return must(x509.ParseCertificate(block.Bytes))(t)
}

// until returns the time until a certificate has had a part of its life.
func until(part float64, c *x509.Certificate) time.Duration {
	life := c.NotAfter.Sub(c.NotBefore)
	return time.Until(c.NotBefore) + time.Duration(part*float64(life))
}

func TestAnOrderThatReplacesACertificateIsARenewalOnceThatIsDue(t *testing.T) {
	t.Parallel()
	both := []string{"a.example", "b.example"}
	for name, tt := range map[string]struct {
		age              float64 // as a part of its life
		revoked, limited bool    // the certificate; renewals, by the policy
		names            []string
		exempt           bool
	}{
		"a new one":                           {0.1, false, false, both, false},
		"one before the suggested time":       {0.45, false, false, both, false},
		"one at the suggested time":           {0.485, false, false, both, true},
		"one at half of its life":             {0.51, false, false, both, true},
		"some of its names":                   {0.6, false, false, both[:1], true},
		"more than its names":                 {0.6, false, false, append(both, "c.example"), false},
		"one name of it, and another":         {0.6, false, false, []string{"a.example", "c.example"}, false},
		"one that was revoked":                {0.1, true, false, both, true},
		"revoked, and more than its names":    {0.1, true, false, append(both, "c.example"), false},
		"where the policy limits renewals":    {0.6, false, true, both, false},
		"revoked, where renewals are limited": {0.1, true, true, both, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, at := oneOrder(), new(clock)
			p.LimitRenewals = tt.limited
			c := startLimited(t, server.Config{Now: at.now}, p).NewAccount(t)
			leaf := issue(t, c, "", both...)
			if tt.revoked {
				if resp := revoke(t, c, leaf, 4); resp.Status != http.StatusOK {
					t.Fatalf("%d %s", resp.Status, resp.Body)
				}
			}
			at.advance(until(tt.age, leaf))
			resp := newOrder(t, c, map[string]any{"replaces": acme.RenewalIDOf(leaf).String()}, tt.names...)
			if !tt.exempt {
				wantLimited(t, resp, "ordersPerAccount")
			} else if resp.Status != http.StatusCreated {
				t.Errorf("%d %s; want an order", resp.Status, resp.Body)
			}
		})
	}
}

func TestWhoeverRevokesWhatItIssuesInALoopIsLimited(t *testing.T) {
	t.Parallel()
	c := startLimited(t, server.Config{}, oneOrder()).NewAccount(t)
	leaf := issue(t, c, "", "a.example")
	for range 20 { // as many as are exempt
		if resp := revoke(t, c, leaf, 4); resp.Status != http.StatusOK {
			t.Fatalf("%d %s", resp.Status, resp.Body)
		}
		wantLimited(t, newOrder(t, c, nil, "a.example"), "ordersPerAccount") // by its names alone it is no renewal
		leaf = issue(t, c, acme.RenewalIDOf(leaf).String(), "a.example")
	}
	if resp := revoke(t, c, leaf, 4); resp.Status != http.StatusOK {
		t.Fatalf("%d %s", resp.Status, resp.Body)
	}
	wantLimited(t, newOrder(t, c, map[string]any{"replaces": acme.RenewalIDOf(leaf).String()}, "a.example"), "ordersPerAccount")
}
