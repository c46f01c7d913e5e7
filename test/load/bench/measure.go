package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/acme-ca/acme-ca-operator/test/load/gauge"
	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// sample is one measurement.
type sample struct {
	*generator.Result
	// server and postgres are what they took of the processors; others is what was
	// neither theirs nor the load's, as a share of all processors.
	server, postgres time.Duration
	others           float64
	// peak is the most memory that the server has had so far, in bytes; of several
	// replicas, the first.
	peak int64
}

// hung reports whether requests had no answer, in time or at all: the sample then says
// how long the load waited, and nothing of the server's throughput.
func (s *sample) hung() bool {
	for f := range s.Failures {
		if f.Problem == generator.NoProblem {
			return true
		}
	}
	return false
}

// perThousand returns a time as seconds for a thousand flows.
func (s *sample) perThousand(d time.Duration) float64 {
	return 1000 * d.Seconds() / float64(max(s.Flows(), 1))
}

// running is a contestant that serves, on a database of its own.
type running struct {
	*process
	others      []*process // other replicas of it
	lab         *lab
	contestant  *contestant
	databaseURL string // empty where it has none
	drop        func() error
}

// run starts a contestant.
func (l *lab) run(ctx context.Context, c *contestant, binary string) (*running, error) {
	r := &running{lab: l, contestant: c}
	if c.postgres {
		var err error
		if r.databaseURL, r.drop, err = l.postgres.NewDatabase(); err != nil {
			return nil, err
		}
	}
	return r, r.serve(ctx, binary, r.databaseURL)
}

// serve starts the server on a database.
func (r *running) serve(ctx context.Context, binary, databaseURL string) (err error) {
	r.process, err = r.contestant.start(ctx, r.lab, binary, databaseURL)
	if err != nil {
		return fmt.Errorf("%s: %w", r.contestant.name, err)
	}
	return nil
}

// end stops the server and drops its database.
func (r *running) end() error {
	err := errors.Join(r.stop(), stopAll(r.others))
	if r.drop != nil {
		err = errors.Join(err, r.drop())
	}
	return err
}

// measure makes load and measures, after it has made some that it does not.
func (r *running) measure(ctx context.Context, c generator.Config, warmup, duration time.Duration) (*sample, error) {
	g, err := r.generator(ctx, c)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	g.Run(ctx, warmup)
	before, err := r.cpu()
	if err != nil {
		return nil, err
	}
	s := &sample{Result: g.Run(ctx, duration)}
	after, err := r.cpu()
	if err != nil {
		return nil, err
	}
	s.server, s.postgres = after.server-before.server, after.postgres-before.postgres
	others := after.busy - before.busy - s.server - s.postgres - s.CPU
	s.others = max(0, others.Seconds()/s.Elapsed.Seconds()/float64(runtime.NumCPU()))
	if s.peak, err = gauge.PeakMemory(r.cmd.Process.Pid); err != nil {
		return nil, err
	}
	return s, ctx.Err()
}

// generator returns a generator of load for the server.
func (r *running) generator(ctx context.Context, c generator.Config) (*generator.Generator, error) {
	c.DirectoryURL, c.Roots = r.directoryURL, r.lab.roots()
	for _, p := range r.others {
		c.Replicas = append(c.Replicas, p.directoryURL)
	}
	c.Mode, c.Responders = r.contestant.mode, r.lab.responders
	if c.Orders == nil {
		c.Orders = r.lab.orders
	}
	g, err := generator.New(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.contestant.name, err)
	}
	return g, nil
}

// cpuTimes are those of a server, of its Postgres, and of whatever the processors do.
type cpuTimes struct{ server, postgres, busy time.Duration }

// cpu reads what server and Postgres have taken so far.
func (r *running) cpu() (t cpuTimes, err error) {
	if t.busy, err = gauge.Busy(); err != nil {
		return t, err
	}
	for _, p := range append([]*process{r.process}, r.others...) {
		took, err := gauge.CPU(p.cmd.Process.Pid)
		if err != nil {
			return t, err
		}
		t.server += took
	}
	if r.databaseURL == "" {
		return t, nil
	}
	t.postgres, err = gauge.CPU(r.lab.postmaster)
	return t, err
}

// counts are of a database, for each certificate.
type counts struct{ commits, syncs, roundTrips, wal float64 }

// count lets one worker of one account issue certificates through a proxy, and
// returns what each of them made the database do.
func (l *lab) count(ctx context.Context, c *contestant, binary string, duration time.Duration) (counts, error) {
	r := &running{lab: l, contestant: c}
	var err error
	if r.databaseURL, r.drop, err = l.postgres.NewDatabase(); err != nil {
		return counts{}, err
	}
	proxy, err := gauge.StartProxy(ctx, r.databaseURL)
	if err != nil {
		return counts{}, err
	}
	defer proxy.Close()
	if err := r.serve(ctx, binary, proxy.URL()); err != nil {
		return counts{}, err
	}
	n, err := r.countFlows(ctx, proxy, duration)
	return n, errors.Join(err, r.drop())
}

// countFlows makes the load, and stops the server: its connections' counters are
// exact when they have ended.
func (r *running) countFlows(ctx context.Context, proxy *gauge.Proxy, duration time.Duration) (counts, error) {
	g, err := r.generator(ctx, generator.Config{Accounts: 1, Workers: 1})
	if err != nil {
		return counts{}, errors.Join(err, r.stop())
	}
	defer g.Close()
	before, err := gauge.ReadDatabase(ctx, r.databaseURL)
	roundTrips := proxy.RoundTrips()
	if err != nil {
		return counts{}, errors.Join(err, r.stop())
	}
	result := g.Run(ctx, duration)
	roundTrips = proxy.RoundTrips() - roundTrips
	if err := r.stop(); err != nil {
		return counts{}, err
	}
	if err := gauge.AwaitIdle(ctx, r.databaseURL); err != nil {
		return counts{}, err
	}
	after, err := gauge.ReadDatabase(ctx, r.databaseURL)
	if err != nil {
		return counts{}, err
	}
	flows, d := float64(result.Flows()), after.Sub(before)
	if flows == 0 {
		return counts{}, fmt.Errorf("%s: no certificate was issued: %w", r.contestant.name, result.LastFailure)
	}
	return counts{
		commits: float64(d.Commits) / flows, syncs: float64(d.Syncs) / flows,
		roundTrips: float64(roundTrips) / flows, wal: float64(d.WAL) / flows,
	}, nil
}
