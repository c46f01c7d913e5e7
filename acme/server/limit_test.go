package server_test

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// startLimited starts a server with a policy, and with the flood guard of it.
func startLimited(t *testing.T, c server.Config, p acme.RateLimitPolicy) *acmetest.Server {
	t.Helper()
	l := ratelimit.New(p)
	c.Limits, c.Flood = l, ratelimit.NewFlood(l)
	c.Meta.RateLimits = "https://docs.example/limits"
	return acmetest.StartServer(t, acmetest.NewMemory(), c)
}

// newOrder posts a newOrder for names and returns the answer, whatever it is.
func newOrder(t *testing.T, c *acmetest.Client, payload map[string]any, names ...string) *acmetest.Response {
	t.Helper()
	var ids []acme.Identifier
	for _, n := range names {
		ids = append(ids, acme.Identifier{Type: acme.DNS, Value: n})
	}
	body := map[string]any{"identifiers": ids}
	maps.Copy(body, payload)
	return must(c.Post(t.Context(), c.Directory.NewOrder, body))(t)
}

func TestAnOrderOverTheLimitIsToldWhichLimitWhoseAndWhenToComeBack(t *testing.T) {
	t.Parallel()
	s := startLimited(t, server.Config{}, acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{
		acme.OrdersPerAccount: {Count: 2, Period: time.Hour}, acme.CertificatesPerNameSet: {},
		acme.FailedValidationsPerIdentifier: {},
	}})
	c := s.NewAccount(t)
	for i := range 2 {
		resp := newOrder(t, c, nil, "a.example")
		if resp.Status != http.StatusCreated {
			t.Fatalf("order %d: %d %s", i, resp.Status, resp.Body)
		}
		want := fmt.Sprintf(`"concurrentOrdersPerAccount";r=%d, "ordersPerAccount";r=%d;t=%d`, 999-i, 1-i, 1800*(i+1))
		if got := resp.Header.Get("RateLimit"); got != want {
			t.Errorf("RateLimit: %s; want %s", got, want)
		}
		want = `"concurrentOrdersPerAccount";q=1000, "ordersPerAccount";q=2;w=3600`
		if got := resp.Header.Get("RateLimit-Policy"); got != want {
			t.Errorf("RateLimit-Policy: %s; want %s", got, want)
		}
	}
	resp := newOrder(t, c, nil, "a.example")
	wantLimited(t, resp, "ordersPerAccount", c.Account[len(c.Account)-26:])
	retry, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || retry < 1790 || retry > 1800 {
		t.Errorf("Retry-After %q; want about 1800", resp.Header.Get("Retry-After"))
	}
	if got, want := resp.Header.Get("RateLimit"), fmt.Sprintf(`"ordersPerAccount";r=0;t=%d`, retry); got != want {
		t.Errorf("RateLimit: %s; want %s", got, want)
	}
	_, after, _ := strings.Cut(resp.Problem.Detail, "come back after ")
	when, err := time.Parse(time.RFC3339, after)
	if wait := time.Until(when); err != nil || wait < 29*time.Minute || wait > 31*time.Minute {
		t.Errorf("detail %q; want a time in half an hour", resp.Problem.Detail)
	}
}

// wantLimited checks a refusal by a limit: its problem, headers, and words.
func wantLimited(t *testing.T, resp *acmetest.Response, words ...string) {
	t.Helper()
	if resp.Status != http.StatusTooManyRequests || resp.Problem == nil || resp.Problem.Type != acme.RateLimited {
		t.Fatalf("%d %s; want rateLimited", resp.Status, resp.Body)
	}
	wantExplained(t, resp, words...)
}

// wantExplained checks what a refusal tells: words, where more is to be read, and
// when to come back.
func wantExplained(t *testing.T, resp *acmetest.Response, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(resp.Problem.Detail, w) {
			t.Errorf("detail %q does not name %s", resp.Problem.Detail, w)
		}
	}
	if links := strings.Join(resp.Header.Values("Link"), " "); !strings.Contains(links, `<https://docs.example/limits>;rel="help"`) {
		t.Errorf("Link %q has no help", links)
	}
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestOrdersAndAccountsThatAreThereAreNotLimited(t *testing.T) {
	t.Parallel()
	s := startLimited(t, server.Config{}, acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{
		acme.AccountsPerAddress: {Count: 1, Period: time.Hour}, acme.ConcurrentOrdersPerAccount: {Count: 1},
	}})
	c := s.NewAccount(t)
	again := must(acmetest.Dial(t.Context(), s.Client(), s.DirectoryURL(), c.Key))(t)
	if must(again.NewAccount(t.Context(), nil))(t); again.Account != c.Account {
		t.Errorf("found %s; want %s", again.Account, c.Account)
	}
	for range 2 { // when one has ended there is room for another
		order := must(c.NewOrder(t.Context(), "a.example"))(t)
		must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")))(t)
	}
}

func TestAResponseIsLimitedAndAPollIsNot(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	l := ratelimit.New(acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{
		acme.ChallengeResponsesPerChallenge: {Count: 2, Period: time.Hour}, acme.OrdersPerAccount: {Count: 1, Period: time.Hour},
	}})
	s := acmetest.StartServer(t, memory, server.Config{
		Validator: &proof{store: memory, pending: true}, Limits: l, ValidationWait: time.Millisecond,
		Meta: server.Meta{RateLimits: "https://docs.example/limits"},
	})
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	a := must(c.GetAuthorization(t.Context(), order.Authorizations[0]))(t)
	for range 2 {
		if resp := must(c.Post(t.Context(), a.Challenges[0].URL, map[string]any{}))(t); resp.Status != http.StatusOK {
			t.Fatalf("%d %s", resp.Status, resp.Body)
		}
	}
	wantLimited(t, must(c.Post(t.Context(), a.Challenges[0].URL, map[string]any{}))(t), "challengeResponsesPerChallenge")
	for _, url := range []string{a.Challenges[0].URL, order.URL, order.Authorizations[0]} {
		for range 5 {
			if resp := must(c.Post(t.Context(), url, nil))(t); resp.Status != http.StatusOK {
				t.Errorf("poll of %s: %d %s", url, resp.Status, resp.Body)
			}
		}
	}
}
