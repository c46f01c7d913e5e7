package postgres_test

import (
	"context"
	"crypto"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// fleet is some servers on one database, and a client of each for one account.
type fleet struct {
	clients []*acmetest.Client
	stop    func()
	// unknown counts the answers that do not say whether an order was made: the database
	// took too long to say it.
	unknown atomic.Int64
}

// startFleet starts servers with a policy.
func startFleet(t *testing.T, url string, key crypto.Signer, servers int, p acme.RateLimitPolicy) *fleet {
	t.Helper()
	f := &fleet{}
	var running []*acmetest.Server
	var stores []*postgres.Store
	for range servers {
		// A crowd is all served here, however long that takes.
		store := postgrestest.Open(t, postgres.Config{URL: url, AcquireTimeout: time.Minute})
		s := acmetest.StartServer(t, store, server.Config{Limits: ratelimit.New(p), MaxRequests: 10_000})
		c, err := acmetest.Dial(t.Context(), s.Client(), s.DirectoryURL(), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.NewAccount(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		f.clients, running, stores = append(f.clients, c), append(running, s), append(stores, store)
	}
	f.stop = func() {
		for i, s := range running {
			s.Close()
			stores[i].Close()
		}
	}
	return f
}

// order makes n orders at once, and counts the statuses of the answers. Those that
// are refused must be told to come back when the next is free: emission after the
// first was made, at begun.
func (f *fleet) order(t *testing.T, n int, begun time.Time, emission time.Duration) map[int]int {
	t.Helper()
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c := f.clients[i%len(f.clients)]
			resp, err := f.comeBack(t.Context(), c, map[string]any{
				"identifiers": []acme.Identifier{{Type: acme.DNS, Value: fmt.Sprintf("a%d.example", i)}},
			})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[resp.Status]++
			if resp.Status != http.StatusTooManyRequests {
				return
			}
			retry, err := strconv.Atoi(resp.Header.Get("Retry-After"))
			wait := time.Duration(retry) * time.Second
			if least := emission - time.Since(begun); err != nil || wait < least || wait > emission {
				t.Errorf("Retry-After %q; want between %s and %s", resp.Header.Get("Retry-After"), least, emission)
			}
		})
	}
	all.Wait()
	return statuses
}

// comeBack posts a newOrder, and again where a machine that is too small for a
// thousand requests at once has it told to come back (503).
func (f *fleet) comeBack(ctx context.Context, c *acmetest.Client, payload any) (*acmetest.Response, error) {
	for {
		resp, err := c.Post(ctx, c.Directory.NewOrder, payload)
		if err != nil || resp.Status != http.StatusServiceUnavailable {
			return resp, err
		}
		f.unknown.Add(1)
	}
}

// made counts the orders of the account that are in the database.
func (f *fleet) made(t *testing.T, url string) int {
	t.Helper()
	account := f.clients[0].Account
	id, err := acme.ParseID(account[strings.LastIndex(account, "/")+1:])
	if err != nil {
		t.Fatal(err)
	}
	orders, err := postgrestest.Open(t, postgres.Config{URL: url}).UnfinishedOrders(t.Context(), id, acme.ID{}, 2000)
	if err != nil {
		t.Fatal(err)
	}
	return len(orders)
}

func TestAnyNumberOfServersAdmitsExactlyTheLimit(t *testing.T) {
	t.Parallel()
	rate := acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{acme.OrdersPerAccount: {Count: 100, Period: 10 * time.Hour}}}
	atOnce := acme.RateLimitPolicy{Limits: map[acme.LimitName]acme.Limit{acme.ConcurrentOrdersPerAccount: {Count: 100}}}
	for _, tt := range []struct {
		name     string
		servers  int
		replaced bool // all servers, after 60 orders
		policy   acme.RateLimitPolicy
		emission time.Duration
	}{
		{"three servers, 100 orders in ten hours", 3, false, rate, 6 * time.Minute},
		{"one server, 100 orders in ten hours", 1, false, rate, 6 * time.Minute},
		{"three servers, all replaced on the way", 3, true, rate, 6 * time.Minute},
		{"three servers, 100 orders at once", 3, false, atOnce, time.Minute},
		{"three servers, 100 orders at once, all replaced on the way", 3, true, atOnce, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, key := postgrestest.URL(t), acmetest.NewKey(t)
			f := startFleet(t, url, key, tt.servers, tt.policy)
			begun, got, unknown := time.Now(), map[int]int{}, int64(0)
			if tt.replaced {
				got = f.order(t, 60, begun, tt.emission)
				f.stop()
				unknown = f.unknown.Load()
				f = startFleet(t, url, key, tt.servers, tt.policy)
			}
			for status, n := range f.order(t, 1000-got[http.StatusCreated], begun, tt.emission) {
				got[status] += n
			}
			unknown += f.unknown.Load()
			t.Logf("%v in %s, and %d that do not say", got, time.Since(begun), unknown)
			if made := f.made(t, url); made != 100 {
				t.Errorf("%d orders were made, want 100", made)
			}
			// Whose order was made without their knowing was refused when they came back.
			lost := 100 - got[http.StatusCreated]
			want := map[int]int{http.StatusCreated: 100 - lost, http.StatusTooManyRequests: 900 + lost}
			if diff := cmp.Diff(want, got); diff != "" || lost < 0 || int64(lost) > unknown {
				t.Errorf("answers %v, of which %d more did not say; want 100 orders and 900 refusals", got, unknown)
			}
		})
	}
}
