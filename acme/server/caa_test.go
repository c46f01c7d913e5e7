package server_test

import (
	"context"
	"encoding/base64"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// records stand for the CAA records of all domains: those of the names forbid.
type records struct {
	forbidden []string
	mu        sync.Mutex
	asked     []string // the names, each with the challenge type
}

// CheckCAA implements [server.CAAChecker].
func (r *records) CheckCAA(_ context.Context, _ acme.ID, id acme.Identifier, t acme.ChallengeType) *acme.Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, id.Value+" "+string(t))
	slices.Sort(r.asked)
	if slices.Contains(r.forbidden, id.Value) {
		return acme.Problemf(acme.CAA, "CAA forbids issuance for %s", id)
	}
	return nil
}

// clock is a clock that can be set forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func TestCAAIsReadAgainAtFinalizeWhereTheProofIsOld(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config server.Config // with a validator unless Trusted
		later  time.Duration
		asked  []string
	}{
		"not of a proof of just now":                                   {server.Config{}, 0, nil},
		"not of a proof of seven hours ago":                            {server.Config{}, 7 * time.Hour, nil},
		"of a proof of nine hours ago":                                 {server.Config{}, 9 * time.Hour, []string{"a.example http-01", "b.example http-01"}},
		"not of a proof of just now, where proofs may be used again":   {server.Config{AuthorizationReuse: time.Hour}, 0, nil},
		"of an old proof that was used again, by the time it was made": {server.Config{AuthorizationReuse: 24 * time.Hour}, 9 * time.Hour, []string{"a.example http-01", "b.example http-01"}},
		"of an account that is trusted, always":                        {server.Config{Trusted: true}, 0, []string{"a.example ", "b.example "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory, caa, at := acmetest.NewMemory(), new(records), new(clock)
			test.config.CAA, test.config.Now = caa, at.now
			if !test.config.Trusted {
				test.config.Validator = &proof{store: memory}
			}
			c := acmetest.StartServer(t, memory, test.config).NewAccount(t)
			order := must(c.NewOrder(t.Context(), "a.example", "b.example"))(t)
			prove(t, c, order)
			at.advance(test.later)
			if test.config.AuthorizationReuse > 0 { // another order, with the proofs of the first
				order = must(c.NewOrder(t.Context(), "a.example", "b.example"))(t)
			}
			must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example", "b.example")))(t)
			if !slices.Equal(caa.asked, test.asked) {
				t.Errorf("asked for %q, want %q", caa.asked, test.asked)
			}
		})
	}
}

func TestARefusalByCAAAtFinalizeNamesEachNameAndLeavesTheOrderReady(t *testing.T) {
	t.Parallel()
	caa := &records{forbidden: []string{"a.example", "b.example"}}
	c := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{CAA: caa}).NewAccount(t)
	names := []string{"a.example", "b.example", "c.example"}
	order := must(c.NewOrder(t.Context(), names...))(t)
	csr := acmetest.NewCSR(t, acmetest.NewKey(t), names...)
	finalize := func() *acmetest.Response {
		return must(c.Post(t.Context(), order.Finalize, map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)}))(t)
	}
	resp := finalize()
	if problemType(resp) != acme.CAA || len(resp.Problem.Subproblems) != 2 {
		t.Fatalf("status %d, %s; want caa with two subproblems", resp.Status, resp.Body)
	}
	for i, p := range resp.Problem.Subproblems {
		if p.Type != acme.CAA || p.Identifier == nil || p.Identifier.Value != names[i] {
			t.Errorf("subproblem %+v of %v; want caa of %s", p, p.Identifier, names[i])
		}
	}
	caa.forbidden = caa.forbidden[:1]
	if resp := finalize(); problemType(resp) != acme.CAA || resp.Problem.Identifier != nil || resp.Problem.Subproblems != nil {
		t.Errorf("status %d, %s; want caa of the one name, without subproblems", resp.Status, resp.Body)
	}
	caa.forbidden = nil
	if resp := finalize(); resp.Problem != nil {
		t.Errorf("after the records were corrected: %v", resp.Problem)
	}
}

// slowRecords stand for a DNS that answers when the test wants.
type slowRecords struct {
	asked chan time.Time // the deadline of each lookup
	goOn  chan struct{}  // closed when it answers
}

// CheckCAA implements [server.CAAChecker].
func (s *slowRecords) CheckCAA(ctx context.Context, _ acme.ID, _ acme.Identifier, _ acme.ChallengeType) *acme.Problem {
	deadline, _ := ctx.Deadline()
	s.asked <- deadline
	<-s.goOn
	return nil
}

func TestASlowDNSTakesNobodysPlaceAndHasOneDeadlineForAllNames(t *testing.T) {
	t.Parallel()
	caa := &slowRecords{asked: make(chan time.Time), goOn: make(chan struct{})}
	c := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{CAA: caa, MaxRequests: 1}).NewAccount(t)
	names := []string{"a.example", "b.example"}
	order := must(c.NewOrder(t.Context(), names...))(t)
	csr := acmetest.NewCSR(t, acmetest.NewKey(t), names...)
	finalized := make(chan error)
	before := time.Now()
	go func() {
		_, err := c.Finalize(t.Context(), order, csr)
		finalized <- err
	}()
	first, second := <-caa.asked, <-caa.asked
	if wait := first.Sub(before); !first.Equal(second) || wait < 10*time.Second || wait > 20*time.Second {
		t.Errorf("deadlines %s and %s after the request; want one, of ten seconds", wait, second.Sub(before))
	}
	if o, err := c.GetOrder(t.Context(), order.URL); err != nil || o.Status != acme.OrderReady {
		t.Errorf("another request meanwhile: %+v, %v", o, err)
	}
	close(caa.goOn)
	if err := <-finalized; err != nil {
		t.Error(err)
	}
}

// provedMeanwhile is a store in which an order becomes ready right after it was looked at.
type provedMeanwhile struct {
	acmetest.Store
	prove func()
}

func (s *provedMeanwhile) OrderAuthorizations(ctx context.Context, by *acme.Proof, order acme.ID) (*acme.Order, []*acme.Authorization, error) {
	o, authorizations, err := s.Store.OrderAuthorizations(ctx, by, order)
	s.prove()
	return o, authorizations, err
}

func TestAnOrderThatBecomesReadyAfterTheLookIsNotFinalizedWithoutCAA(t *testing.T) {
	t.Parallel()
	memory, at := acmetest.NewMemory(), new(clock)
	store := &provedMeanwhile{Store: memory}
	c := acmetest.StartServer(t, store, server.Config{
		CAA: &records{forbidden: []string{"a.example"}}, Now: at.now, Validator: &proof{store: memory},
	}).NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	at.advance(9 * time.Hour)
	store.prove = func() { prove(t, c, order) }
	csr := base64.RawURLEncoding.EncodeToString(acmetest.NewCSR(t, acmetest.NewKey(t), "a.example"))
	for _, want := range []acme.ProblemType{acme.OrderNotReady, acme.CAA} {
		resp := must(c.Post(t.Context(), order.Finalize, map[string]string{"csr": csr}))(t)
		if problemType(resp) != want {
			t.Errorf("status %d, %s; want %s", resp.Status, resp.Body, want)
		}
		store.prove = func() {}
	}
}

func TestRecordsAreLookedUpForSoManyRequestsAtOnceAndNoMore(t *testing.T) {
	t.Parallel()
	const most = 32
	caa := &slowRecords{asked: make(chan time.Time, 2*most), goOn: make(chan struct{})}
	c := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{CAA: caa}).NewAccount(t)
	finalized := make(chan error, most+1)
	for range most + 1 {
		order := must(c.NewOrder(t.Context(), "a.example"))(t)
		csr := acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")
		go func() {
			_, err := c.Finalize(t.Context(), order, csr)
			finalized <- err
		}()
	}
	for range most {
		<-caa.asked
	}
	select {
	case <-caa.asked:
		t.Error("one more is looked up at once")
	case <-time.After(200 * time.Millisecond):
	}
	close(caa.goOn)
	for range most + 1 {
		if err := <-finalized; err != nil {
			t.Error(err)
		}
	}
}
