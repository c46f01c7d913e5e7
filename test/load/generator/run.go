// Package generator makes load for an ACME server: accounts that issue
// certificates, so many at a time or per second, and how long every step took.
//
// It is made to cost little beside a server that shares its machine: names and
// CSRs are made before the load, a worker keeps one connection and has no
// goroutine but its own, and nonces come from the answers before. It knows any
// server of RFC 8555, and nothing of how one is run or what it costs.
package generator

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// afterFailure is how long a worker rests when a flow has failed, so that a server
// which refuses is not flooded.
const afterFailure = 100 * time.Millisecond

// Generator makes load. One run at a time.
type Generator struct {
	config  Config
	workers []*worker
}

// New registers the accounts.
func New(ctx context.Context, c Config) (*Generator, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	conn := newConnection(c.Roots)
	defer conn.close()
	var directories []*acmetest.Directory
	for _, url := range append([]string{c.DirectoryURL}, c.Replicas...) {
		dialed, err := acmetest.Dial(ctx, &http.Client{Transport: conn}, url, nil)
		if err != nil {
			return nil, err
		}
		directories = append(directories, &dialed.Directory)
	}
	accounts, err := makeAccounts(ctx, &c, directories[0])
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	if c.Orders == nil {
		if c.Orders, err = MakeOrders(1000, 1); err != nil {
			return nil, err
		}
	}
	g := &Generator{config: c}
	for i := range c.Workers {
		g.workers = append(g.workers, g.newWorker(i, accounts, directories[i%len(directories)]))
	}
	return g, nil
}

// Close ends the connections.
func (g *Generator) Close() {
	for _, w := range g.workers {
		w.conn.close()
	}
}

// Run makes load for a time, and returns when the last flow that began in it has
// ended. What a run before has left, it goes on with: connections, nonces, and
// certificates to renew.
func (g *Generator) Run(ctx context.Context, duration time.Duration) *Result {
	begin, before := time.Now(), ownCPU()
	schedule := newSchedule(begin, duration, g.config.Rate)
	records := make([]*record, len(g.workers))
	var workers sync.WaitGroup
	for i, w := range g.workers {
		workers.Go(func() {
			w.record = newRecord()
			w.run(ctx, schedule)
			records[i] = w.record
		})
	}
	workers.Wait()
	result := merge(records, time.Since(begin))
	result.Missed, result.CPU = schedule.missed(), ownCPU()-before
	return result
}

// schedule tells when flows begin.
type schedule struct {
	begin, end time.Time
	// rate is that of an open loop, and total how many flows it makes of the time; 0:
	// a flow begins whenever a worker is free.
	rate  float64
	total int64
	begun atomic.Int64
}

func newSchedule(begin time.Time, duration time.Duration, rate float64) *schedule {
	return &schedule{
		begin: begin, end: begin.Add(duration),
		rate: rate, total: int64(math.Ceil(rate * duration.Seconds())),
	}
}

// next returns when the next flow should begin, and false where none does any more.
// In an open loop that may be in the past: the flow is late, and its latency has it.
func (s *schedule) next() (time.Time, bool) {
	now := time.Now()
	if !now.Before(s.end) {
		return now, false
	}
	if s.rate == 0 {
		return now, true
	}
	n := s.begun.Add(1) - 1
	return s.begin.Add(time.Duration(float64(n) / s.rate * float64(time.Second))), n < s.total
}

// missed returns how many flows should have begun and did not.
func (s *schedule) missed() int { return int(max(0, s.total-s.begun.Load())) }

// ownCPU returns what this process took of the processors so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // there is no such error but for a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sleep waits until a time, and reports whether ctx still goes on then.
func sleep(ctx context.Context, until time.Time) bool {
	wait := time.Until(until)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
