package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// flags returns those that every bench of flows has.
func (o *options) flags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 3, "how often each is measured, in turn with the others; the tables have medians")
	flags.DurationVar(&o.warmup, "warmup", 2*time.Second, "how long to make load before each measurement")
	flags.DurationVar(&o.duration, "duration", 8*time.Second, "how long each measurement is")
	return flags
}

// turns is a bench of this server alone, under conditions that are compared with each
// other.
type turns struct {
	options
	// prepare, where it is not nil, is called once, before all rounds.
	prepare func(ctx context.Context, l *lab) error
	// compare measures a configuration of this server once under each condition.
	compare func(ctx context.Context, l *lab, f *findings, c *contestant, binary string) error
	// conditions are the rows of the table for each configuration, as variations; note
	// says more of them.
	conditions []string
	note       string
}

// run measures, and prints a table.
func (t *turns) run(ctx context.Context) error {
	return inLab(ctx, t.measure, t.write)
}

// measure takes turns, so that what changes in the machine meanwhile is the same for all.
func (t *turns) measure(ctx context.Context, l *lab) (*findings, error) {
	f := &findings{options: &t.options, samples: map[load][]*sample{}, hung: map[*contestant]int{}}
	f.machine, f.verify = machine(ctx)
	own := &contestants[0]
	progress("building %s", own.program)
	binary, err := l.build(ctx, "acmeserver", own.module, own.program)
	if err != nil {
		return nil, err
	}
	if t.prepare != nil {
		if err := t.prepare(ctx, l); err != nil {
			return nil, err
		}
	}
	for round := range t.rounds {
		for i := range contestants {
			c := &contestants[i]
			if !c.own() {
				continue
			}
			progress("round %d of %d: %s", round+1, t.rounds, c.name)
			if err := t.compare(ctx, l, f, c, binary); err != nil {
				f.fails(c, err)
			}
		}
	}
	return f, ctx.Err()
}

// write writes the table.
func (t *turns) write(f *findings) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Machine: %s, shared by load, server and database.\nMedians of %d rounds of %s%s.%s\n\n",
		f.machine, t.rounds, t.duration, t.note, f.disturbance())
	head(&b, "", "flows/s", "server, CPU-s per 1,000", "server + Postgres", "newOrder p99, ms", "finalize p99")
	for i := range contestants {
		for _, condition := range t.conditions {
			samples := f.samples[load{contestant: &contestants[i], variation: condition}]
			if len(samples) == 0 {
				continue
			}
			figure := func(format string, of func(*sample) float64) string { return number(format, median(samples, of)) }
			row(&b, contestants[i].name+", "+condition, figure("%.0f", (*sample).Rate),
				figure("%.2f", func(s *sample) float64 { return s.perThousand(s.server) }),
				figure("%.2f", func(s *sample) float64 { return s.perThousand(s.server + s.postgres) }),
				figure("%.1f", func(s *sample) float64 { return milliseconds(s.Latencies[generator.NewOrder].Percentile(99)) }),
				figure("%.1f", func(s *sample) float64 { return milliseconds(s.Latencies[generator.Finalize].Percentile(99)) }))
		}
	}
	_, err := b.WriteTo(os.Stdout)
	return err
}
