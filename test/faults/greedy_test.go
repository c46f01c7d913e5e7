package faults

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	shared "github.com/acme-ca/acme-ca-operator/test/invariants"
)

// The limits of those who want more. A period that is longer than any run makes a
// limit one of how many there ever are.
const (
	mostOrders    = 60 // of the account that orders and orders
	mostAtOnce    = 7  // of the account that never finishes an order
	mostAccounts  = workers + 2 + 5
	greedPeriod   = 1000 * time.Hour
	greedInterval = 100 * time.Millisecond
)

// greedy is clients that take all that the limits let them have. When a run is over
// they must have exactly that: one more, and a limit was exceeded; one less, and
// something was paid for that nobody got.
type greedy struct {
	orders, atOnce *acmetest.Client
	policy         acme.RateLimitPolicy
}

// prepare limits accounts, before there are any, and makes those of the greedy.
func (g *greedy) prepare(t *testing.T, l *load) {
	t.Helper()
	g.policy.Limits = map[acme.LimitName]acme.Limit{
		acme.AccountsPerAddress: {Count: mostAccounts, Period: greedPeriod},
		acme.OrdersPerAccount:   {}, // those of the workers are not counted
	}
	g.enforce(t, l)
	g.orders, g.atOnce = l.newAccount(t), l.newAccount(t)
}

// limit limits the orders of the greedy accounts.
func (g *greedy) limit(t *testing.T, l *load) {
	t.Helper()
	g.policy.Overrides = []acme.LimitOverride{
		{Limit: acme.OrdersPerAccount, Subject: accountID(t, g.orders).String(), Of: acme.Limit{Count: mostOrders, Period: greedPeriod}},
		{Limit: acme.ConcurrentOrdersPerAccount, Subject: accountID(t, g.atOnce).String(), Of: acme.Limit{Count: mostAtOnce}},
	}
	g.enforce(t, l)
}

// enforce sets the policy and waits until all replicas enforce it.
func (g *greedy) enforce(t *testing.T, l *load) {
	t.Helper()
	store := l.fleet.store(t)
	generation, err := store.SetRateLimitPolicy(t.Context(), g.policy)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	err = poll(ctx, func() error {
		reported, err := store.Replicas(ctx)
		if err != nil {
			return err
		}
		var generations, want []int64
		for _, r := range reported {
			generations, want = append(generations, r.Generation), append(want, generation)
		}
		if diff := cmp.Diff(want, generations); diff != "" || len(reported) != replicas {
			return fmt.Errorf("%d replicas report these generations (-want +got):\n%s", len(reported), diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// run asks for more and more until the load ends, and then once more from all sides.
func (g *greedy) run(t *testing.T, l *load) {
	t.Helper()
	tick := time.NewTicker(greedInterval)
	defer tick.Stop()
	n := 0
	for ; !l.stop.Load(); n++ {
		g.ask(t, l, n)
		<-tick.C
	}
	// So often that each has everything at the end, if not before.
	const crowd = 10
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			for i := range mostOrders/crowd + 1 {
				g.ask(t, l, n+i)
			}
		})
	}
	all.Wait()
}

// ask asks for one more of each. What is answered is in the recorder.
func (g *greedy) ask(t *testing.T, l *load, n int) {
	t.Helper()
	ctx, cancel := l.whileRunning()
	defer cancel()
	_, _ = g.orders.NewOrder(ctx, fmt.Sprintf("n%d.more.test", n))
	_, _ = g.atOnce.NewOrder(ctx, fmt.Sprintf("n%d.at-once.test", n))
	if c, err := l.dial(ctx, acmetest.NewKey(t)); err == nil {
		_, _ = c.NewAccount(ctx, nil)
	}
}

// accountID returns the ID in a client's account URL.
func accountID(t *testing.T, c *acmetest.Client) acme.ID {
	t.Helper()
	id, err := shared.IDOf(c.Account)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// replayer sends by a recorder, but nothing twice and nothing that it would keep.
type replayer struct{ *recorder }

// RoundTrip implements [http.RoundTripper].
func (r replayer) RoundTrip(request *http.Request) (*http.Response, error) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(request.Body); err != nil {
		return nil, err
	}
	return r.send(request.Clone(request.Context()), body.Bytes())
}

// send sends a message again; the answer is in the recorder.
func (m message) send(client *http.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(m.body))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/jose+json")
	if answer, err := client.Do(request); err == nil {
		_ = answer.Body.Close()
	}
}
