package server_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// limited is a server one of whose limits is one, and an account.
type limited struct {
	*acmetest.Server
	memory *acmetest.Memory
	client *acmetest.Client
	// challenge is the URL of one that was responded to.
	challenge string
}

// startLimitOf starts a server at which every validation fails; or goes on, where it
// is responses that are limited.
func startLimitOf(t *testing.T, name acme.LimitName) *limited {
	t.Helper()
	one := acme.Limit{Count: 1}
	if !name.Counted() {
		one.Period = time.Hour
	}
	p := acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{name: one}}
	if name == acme.PauseAfterConsecutiveFailures {
		p = acme.RateLimitPolicy{PauseAfterConsecutiveFailures: 1}
	}
	memory, l := acmetest.NewMemory(), ratelimit.New(p)
	s := acmetest.StartServer(t, memory, server.Config{
		Validator: &proof{
			store: memory, limits: l, problem: acme.Problemf(acme.Connection, "refused"),
			pending: name == acme.ChallengeResponsesPerChallenge,
		},
		ValidationWait: time.Millisecond,
		Limits:         l, AuthorizationReuse: time.Hour, Meta: server.Meta{RateLimits: "https://docs.example/limits"},
	})
	return &limited{Server: s, memory: memory, client: s.NewAccount(t)}
}

// order makes an order.
func (l *limited) order(t *testing.T) *acmetest.Response {
	return newOrder(t, l.client, nil, "www.a.example")
}

// authorize makes a pre-authorization.
func (l *limited) authorize(t *testing.T) *acmetest.Response {
	t.Helper()
	id := acme.Identifier{Type: acme.DNS, Value: "www.a.example"}
	return must(l.client.Post(t.Context(), l.client.Directory.NewAuthz, map[string]any{"identifier": id}))(t)
}

// respond makes an order, and responds to its challenge; the next time to the same.
func (l *limited) respond(t *testing.T) *acmetest.Response {
	t.Helper()
	if l.challenge == "" {
		order := must(l.client.NewOrder(t.Context(), "www.a.example"))(t)
		a := must(l.client.GetAuthorization(t.Context(), order.Authorizations[0]))(t)
		l.challenge = a.Challenges[0].URL
	}
	return must(l.client.Post(t.Context(), l.challenge, map[string]any{}))(t)
}

// account returns the ID of the account.
func (l *limited) account() string { return l.client.Account[len(l.client.Account)-26:] }

// attempt asks for something.
type attempt func(l *limited, t *testing.T) *acmetest.Response

// limitCases has for each limit what takes the one, and then all that is refused.
var limitCases = map[acme.LimitName]struct {
	take    attempt // nil where the account was the one
	refused map[string]attempt
	subject func(l *limited) string
	retry   time.Duration
}{
	acme.OrdersPerAccount: {(*limited).order, map[string]attempt{
		"newOrder": (*limited).order, "newAuthz": (*limited).authorize,
	}, (*limited).account, time.Hour},
	acme.ConcurrentOrdersPerAccount: {(*limited).order, map[string]attempt{
		"newOrder": (*limited).order,
	}, (*limited).account, time.Minute},
	acme.AccountsPerAddress: {nil, map[string]attempt{
		"newAccount": (*limited).register,
	}, func(*limited) string { return "127.0.0.1" }, time.Hour},
	acme.KeyChangesPerAccount: {(*limited).changeKey, map[string]attempt{
		"keyChange": (*limited).changeKey,
	}, (*limited).account, time.Hour},
	acme.ChallengeResponsesPerChallenge: {(*limited).respond, map[string]attempt{
		"challenge": (*limited).respond,
	}, func(*limited) string { return "/http-01" }, time.Hour},
	acme.FailedValidationsPerIdentifier: {(*limited).respond, map[string]attempt{
		"newOrder": (*limited).order, "newAuthz": (*limited).authorize,
	}, func(l *limited) string { return l.account() + "/www.a.example" }, time.Hour},
	acme.CertificatesPerDomain: {(*limited).order, map[string]attempt{
		"newOrder": (*limited).order,
	}, func(*limited) string { return "for a.example" }, time.Hour},
	acme.CertificatesPerNameSet: {(*limited).order, map[string]attempt{
		"newOrder": (*limited).order,
	}, func(*limited) string {
		return acme.NameSetOf([]acme.Identifier{{Type: acme.DNS, Value: "www.a.example"}}).String()
	}, time.Hour},
	acme.PauseAfterConsecutiveFailures: {(*limited).respond, map[string]attempt{
		"newOrder": (*limited).order, "newAuthz": (*limited).authorize,
	}, func(l *limited) string { return l.account() + "/www.a.example" }, time.Hour},
}

// register makes another account.
func (l *limited) register(t *testing.T) *acmetest.Response {
	t.Helper()
	return must(l.NewClient(t).Post(t.Context(), l.client.Directory.NewAccount, map[string]any{}))(t)
}

// changeKey gives the account a new key.
func (l *limited) changeKey(t *testing.T) *acmetest.Response {
	t.Helper()
	next := acmetest.NewKey(t)
	resp := changeKey(t, l.client, next, nil)
	if resp.Status == http.StatusOK {
		l.client.Key = next
	}
	return resp
}

func TestWhateverHasALimitIsRefusedByIt(t *testing.T) {
	t.Parallel()
	for name := range acme.Limits {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			tt, known := limitCases[name]
			if !known {
				t.Fatal("nothing is tried for it")
			}
			l := startLimitOf(t, name)
			if tt.take != nil {
				if resp := tt.take(l, t); resp.Status >= http.StatusBadRequest {
					t.Fatalf("the one that there may be: %d %s", resp.Status, resp.Body)
				}
			}
			for what, request := range tt.refused {
				resp := request(l, t)
				if resp.Status != http.StatusTooManyRequests {
					t.Fatalf("%s: %d %s", what, resp.Status, resp.Body)
				}
				wantLimited(t, resp, string(name)+":", tt.subject(l))
				retry, err := strconv.Atoi(resp.Header.Get("Retry-After"))
				if wait := time.Duration(retry) * time.Second; err != nil || wait > tt.retry || wait < tt.retry-time.Minute/2 {
					t.Errorf("%s: Retry-After %q; want %s", what, resp.Header.Get("Retry-After"), tt.retry)
				}
			}
		})
	}
}

func TestAnIdentifierThatIsUnpausedIsOrderedAgain(t *testing.T) {
	t.Parallel()
	l := startLimitOf(t, acme.PauseAfterConsecutiveFailures)
	l.respond(t)
	wantLimited(t, l.order(t), "are paused until the operator of this server unpauses it")
	if err := l.memory.Unpause(t.Context(), l.account()+"/www.a.example"); err != nil {
		t.Fatal(err)
	}
	if resp := l.order(t); resp.Status != http.StatusCreated {
		t.Errorf("%d %s; want an order", resp.Status, resp.Body)
	}
}
