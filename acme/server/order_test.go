package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// orderRequests are payloads of newOrder and what becomes of them.
var orderRequests = []struct {
	name, payload string
	want          acme.ProblemType // "" for success
}{
	{"one name", `{"identifiers":[{"type":"dns","value":"a.example"}]}`, ""},
	{"a name twice", `{"identifiers":[{"type":"dns","value":"a.example"},{"type":"dns","value":"A.EXAMPLE"}]}`, ""},
	{"an address", `{"identifiers":[{"type":"ip","value":"192.0.2.1"}]}`, ""},
	{"a profile", `{"identifiers":[{"type":"dns","value":"a.example"}],"profile":"short"}`, ""},
	{"a wish for the far future", `{"identifiers":[{"type":"dns","value":"a.example"}],"notAfter":"2999-01-01T00:00:00Z"}`, ""},
	{"a member we do not know", `{"identifiers":[{"type":"dns","value":"a.example"}],"x":1}`, ""},
	{"no identifiers", `{"identifiers":[]}`, acme.Malformed},
	{"an unknown profile", `{"identifiers":[{"type":"dns","value":"a.example"}],"profile":"x"}`, acme.InvalidProfile},
	{"a type we do not serve", `{"identifiers":[{"type":"email","value":"a@b.example"}]}`, acme.UnsupportedIdentifier},
	{"a bad name", `{"identifiers":[{"type":"dns","value":"a_b.example"}]}`, acme.RejectedIdentifier},
	{"bad names of one kind", `{"identifiers":[{"type":"dns","value":"a_b.example"},{"type":"dns","value":"b_c.example"}]}`, acme.RejectedIdentifier},
	{"bad names of two kinds", `{"identifiers":[{"type":"dns","value":"a_b.example"},{"type":"x","value":"b"}]}`, acme.Compound},
	{"an end in the past", `{"identifiers":[{"type":"dns","value":"a.example"}],"notAfter":"2000-01-01T00:00:00Z"}`, acme.Malformed},
	{"an end before the start", `{"identifiers":[{"type":"dns","value":"a.example"}],"notBefore":"2998-01-01T00:00:00Z","notAfter":"2997-01-01T00:00:00Z"}`, acme.Malformed},
	{"a time that is none", `{"identifiers":[{"type":"dns","value":"a.example"}],"notAfter":"tomorrow"}`, acme.Malformed},
	{"not JSON", `{`, acme.Malformed},
	{"not an object", `[]`, acme.Malformed},
	{"null", ` null`, acme.Malformed},
}

func TestNewOrderTakesWhatCanBeIssuedAndSaysWhyNot(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	for _, tt := range orderRequests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp := must(c.Post(t.Context(), c.Directory.NewOrder, []byte(tt.payload)))(t)
			if got := problemType(resp); got != tt.want {
				t.Fatalf("status %d, %s; want %q", resp.Status, resp.Body, tt.want)
			}
			if tt.want == "" && (resp.Status != http.StatusCreated || resp.Header.Get("Location") == "") {
				t.Errorf("status %d, Location %q", resp.Status, resp.Header.Get("Location"))
			}
			if strings.HasPrefix(tt.name, "bad names") && len(resp.Problem.Subproblems) != 2 {
				t.Errorf("%d subproblems, want 2", len(resp.Problem.Subproblems))
			}
		})
	}
}

func TestTwoFinalizesAtOnceGiveOneCertificate(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	urls := make([]string, 20)
	var wg sync.WaitGroup
	for i := range urls {
		csr := acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")
		wg.Go(func() {
			if o, err := c.Finalize(context.WithoutCancel(t.Context()), order, csr); err != nil {
				t.Error(err)
			} else {
				urls[i] = o.Certificate
			}
		})
	}
	wg.Wait()
	for _, url := range urls {
		if url == "" || url != urls[0] {
			t.Fatalf("certificates %q, want one", urls)
		}
	}
}

func TestACSRThatDoesNotFitTheOrderLeavesItReady(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	for name, csr := range map[string][]byte{
		"another name":     acmetest.NewCSR(t, acmetest.NewKey(t), "b.example"),
		"one name more":    acmetest.NewCSR(t, acmetest.NewKey(t), "a.example", "b.example"),
		"no name":          acmetest.NewCSR(t, acmetest.NewKey(t)),
		"an account's key": acmetest.NewCSR(t, c.Key, "a.example"),
		"not DER":          []byte("no"),
	} {
		resp := must(c.Post(t.Context(), order.Finalize, map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)}))(t)
		if got := problemType(resp); got != acme.BadCSR {
			t.Errorf("%s: status %d, problem %v; want badCSR", name, resp.Status, resp.Problem)
		}
	}
	if o := must(c.GetOrder(t.Context(), order.URL))(t); o.Status != acme.OrderReady {
		t.Errorf("order is %s, want ready", o.Status)
	}
	must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")))(t)
}

// proof is a validator that proves or refuses what it is told to.
type proof struct {
	store   acmetest.Store
	problem *acme.Problem
	pending bool // it never comes to a result
	limits  *ratelimit.Limiter
	lasts   time.Duration // of authorizations
}

// Prove has a proof where Validate would.
func (p *proof) Prove(_ context.Context, v *acme.Validation) bool {
	v.Lasts = p.lasts
	return !p.pending && p.problem == nil
}

func (p *proof) Validate(ctx context.Context, v *acme.Validation) (acme.Challenge, bool) {
	if p.pending {
		return acme.Challenge{}, false
	}
	var spends []acme.Spend
	if p.limits != nil && p.problem != nil {
		spends = p.limits.FailedValidation(v.AccountID, v.Identifier)
	}
	v.Lasts = p.lasts
	c, err := p.store.RecordValidation(ctx, v, p.problem, spends)
	return c, err == nil
}

func TestAnOrderIsReadyWhenAllItsAuthorizationsAreValid(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	s := acmetest.StartServer(t, memory, server.Config{Validator: &proof{store: memory}})
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example", "b.example"))(t)
	csr := acmetest.NewCSR(t, acmetest.NewKey(t), "a.example", "b.example")
	for i, url := range order.Authorizations {
		if o := must(c.GetOrder(t.Context(), order.URL))(t); o.Status != acme.OrderPending {
			t.Fatalf("with %d of 2 authorizations valid the order is %s", i, o.Status)
		}
		if _, err := c.Finalize(t.Context(), order, csr); problemOf(err) != acme.OrderNotReady {
			t.Fatalf("finalize of a pending order: %v, want orderNotReady", err)
		}
		a := must(c.GetAuthorization(t.Context(), url))(t)
		if len(a.Challenges) != 3 || a.Status != acme.AuthorizationPending {
			t.Fatalf("authorization %+v; want pending, with three challenges", a)
		}
		resp := must(c.Post(t.Context(), a.Challenges[0].URL, map[string]any{}))(t)
		if !strings.Contains(string(resp.Body), `"status":"valid"`) {
			t.Errorf("the first answer to the response is %s; want valid", resp.Body)
		}
	}
	if o := must(c.Finalize(t.Context(), order, csr))(t); o.Status != acme.OrderValid {
		t.Errorf("finalized order is %s", o.Status)
	}
}

func TestAChallengeThatFailsMakesItsOrderInvalidAndSaysWhy(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	refusal := acme.Problemf(acme.IncorrectResponse, "found nothing")
	s := acmetest.StartServer(t, memory, server.Config{Validator: &proof{store: memory, problem: refusal}})
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	a := must(c.GetAuthorization(t.Context(), order.Authorizations[0]))(t)
	must(c.Post(t.Context(), a.Challenges[0].URL, map[string]any{}))(t)
	a = must(c.GetAuthorization(t.Context(), order.Authorizations[0]))(t)
	if a.Status != acme.AuthorizationInvalid || a.Challenges[0].Error == nil || a.Challenges[0].Error.Detail != "found nothing" {
		t.Errorf("authorization %+v", a)
	}
	if o := must(c.GetOrder(t.Context(), order.URL))(t); o.Status != acme.OrderInvalid || o.Error == nil {
		t.Errorf("order is %s with error %v", o.Status, o.Error)
	}
	if _, err := c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")); problemOf(err) != acme.OrderNotReady {
		t.Errorf("finalize: %v, want orderNotReady", err)
	}
}

func TestAWildcardIsOfferedDNSOnly(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	s := acmetest.StartServer(t, memory, server.Config{Validator: &proof{store: memory}})
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "*.a.example"))(t)
	a := must(c.GetAuthorization(t.Context(), order.Authorizations[0]))(t)
	if !a.Wildcard || a.Identifier.Value != "a.example" || len(a.Challenges) != 1 || a.Challenges[0].Type != acme.DNS01 {
		t.Errorf("authorization %+v; want a.example, wildcard, dns-01 only", a)
	}
}

// problemOf returns the type of the problem that err is, or "".
func problemOf(err error) acme.ProblemType {
	if p, ok := errors.AsType[*acme.Problem](err); ok {
		return p.Type
	}
	return ""
}

// goneStore is a store where an account is deactivated while it finalizes.
type goneStore struct{ acmetest.Store }

func (goneStore) FinalizeOrder(_ context.Context, by *acme.Proof, _ acme.Finalization, _ acme.IssueFunc) (*acme.Order, error) {
	return nil, &acme.StateError{Object: "account", ID: by.Account, State: string(acme.AccountDeactivated)}
}

func TestAnAccountThatIsDeactivatedWhileItFinalizesIsUnauthorized(t *testing.T) {
	t.Parallel()
	c := acmetest.StartServer(t, goneStore{acmetest.NewMemory()}, server.Config{}).NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	csr := base64.RawURLEncoding.EncodeToString(acmetest.NewCSR(t, acmetest.NewKey(t), "a.example"))
	resp := must(c.Post(t.Context(), order.Finalize, map[string]string{"csr": csr}))(t)
	if resp.Status != http.StatusUnauthorized || problemType(resp) != acme.Unauthorized {
		t.Errorf("status %d, %s; want 401, unauthorized", resp.Status, resp.Body)
	}
}

func TestWhoeverWaitsForAValidationIsToldWhenToAskAgain(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	c := acmetest.StartServer(t, memory, server.Config{Validator: &proof{store: memory, pending: true}}).NewAccount(t)
	order, two := must(c.NewOrder(t.Context(), "a.example"))(t), must(c.NewOrder(t.Context(), "b.example", "c.example"))(t)
	url := order.Authorizations[0]
	first := must(c.GetAuthorization(t.Context(), two.Authorizations[0]))(t).Challenges[0].URL
	second := must(c.GetAuthorization(t.Context(), two.Authorizations[1]))(t).Challenges[0].URL
	challenge := must(c.GetAuthorization(t.Context(), url))(t).Challenges[0].URL
	for _, step := range []struct {
		name, url, want string
		payload         any
	}{
		{"an authorization that nobody has begun", url, "", nil},
		{"a challenge that nobody has begun", challenge, "", nil},
		{"its order", order.URL, "", nil},
		{"the answer to a response", challenge, "1", map[string]any{}},
		{"a challenge that is processing", challenge, "1", nil},
		{"its authorization", url, "1", nil},
		{"its order, when it waits for the server alone", order.URL, "1", nil},
		{"the answer to the first of two responses", first, "1", map[string]any{}},
		{"an order that waits for the second response", two.URL, "", nil},
		{"the answer to the second of two responses", second, "1", map[string]any{}},
		{"an order that waits for both validations", two.URL, "1", nil},
	} {
		resp := must(c.Post(t.Context(), step.url, step.payload))(t)
		if got := resp.Header.Get("Retry-After"); resp.Status != http.StatusOK || got != step.want {
			t.Errorf("%s: status %d, Retry-After %q; want %q", step.name, resp.Status, got, step.want)
		}
	}
}
