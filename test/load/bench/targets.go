package main

import (
	"bytes"
	"fmt"

	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// target is what this server should reach.
type target struct {
	text string
	// least says that want is a lower bound; else it is an upper one.
	least bool
	// there is the bound on the machine that the targets were set on, of a time or of
	// what is done in a time; 0 of what does not depend on the machine.
	there float64
	want  func(*findings) float64
	found func(*findings) float64
}

// The numbers of workers that targets are for.
const few, many = 8, 32

// constant is a bound that does not depend on the machine.
func constant(v float64) func(*findings) float64 { return func(*findings) float64 { return v } }

// targets lists what this server should reach.
var targets = []target{
	timesAsFast(stepCABadger, few, 2), timesAsFast(stepCABadger, many, 2),
	timesAsFast(stepCAPostgres, few, 8), timesAsFast(stepCAPostgres, many, 8),
	timesAsFast(pebbleHTTP01, few, 1.2), timesAsFast(pebbleHTTP01, many, 1.2),
	{
		// Of a request, the check of its signature is what no server can save.
		text: "trusted, flows/s, 32 workers: 950 where a processor verifies 22,000 signatures a second", least: true, there: 950,
		want:  func(f *findings) float64 { return 950 * f.verify / 22000 },
		found: func(f *findings) float64 { return f.rate(ownTrusted, many) },
	},
	{text: "trusted, server, CPU-s per 1,000", there: 1, want: constant(1), found: cpuOf(ownTrusted, false)},
	{text: "trusted, server + Postgres, CPU-s per 1,000", there: 1.8, want: constant(1.8), found: cpuOf(ownTrusted, true)},
	{text: "http-01, server + Postgres, CPU-s per 1,000", there: 3, want: constant(3), found: cpuOf(ownHTTP01, true)},
	// The log is also synced by Postgres itself, a few times a second.
	{text: "trusted, syncs of the log per certificate", want: constant(2.2), found: syncsOf(ownTrusted)},
	{text: "http-01, syncs of the log per certificate", want: constant(3.2), found: syncsOf(ownHTTP01)},
	{text: "trusted, newOrder p99, ms, 8 workers", there: 10, want: constant(10), found: p99Of(ownTrusted, generator.NewOrder)},
	{text: "trusted, finalize p99, ms, 8 workers", there: 10, want: constant(10), found: p99Of(ownTrusted, generator.Finalize)},
	{text: "http-01, newOrder p99, ms, 8 workers", there: 10, want: constant(10), found: p99Of(ownHTTP01, generator.NewOrder)},
	{text: "http-01, finalize p99, ms, 8 workers", there: 10, want: constant(10), found: p99Of(ownHTTP01, generator.Finalize)},
	{text: "trusted, memory, MiB, 32 workers", want: constant(100), found: memoryOf(ownTrusted)},
	{text: "http-01, memory, MiB, 32 workers", want: constant(100), found: memoryOf(ownHTTP01)},
}

// referenceStepCA is what a thousand certificates of step-ca on badger took at 8
// workers, in processor seconds, on the machine that the absolute targets were set on.
const referenceStepCA = 4.7

// slowness is how many times as much processor time this machine needs as the one that
// the targets were set on, by what step-ca takes; 0 where that was not measured. What
// slows a machine down that is shared, a switch of processes or a call of its kernel,
// does not slow down the arithmetic of signatures.
func (f *findings) slowness() float64 { return cpuOf(stepCABadger, false)(f) / referenceStepCA }

// asThere estimates what would be found on the machine that the targets were set on,
// beside the bound there; "" where the target does not depend on it, or step-ca was not
// measured. Latencies and flows are taken to go with processor time.
func (t *target) asThere(f *findings) string {
	slowness := f.slowness()
	if t.there == 0 || slowness == 0 {
		return "–"
	}
	found := t.found(f) / slowness
	if t.least {
		found = t.found(f) * slowness
	}
	return fmt.Sprintf("%.3g of %v", found, t.there)
}

// timesAsFast is a target of flows against those of another server.
func timesAsFast(other string, workers int, times float64) target {
	return target{
		text: fmt.Sprintf("http-01, times the flows of %s, %d workers", other, workers), least: true,
		want: constant(times), found: func(f *findings) float64 { return f.ratio(ownHTTP01, other, workers) },
	}
}

// cpuOf is what a thousand certificates take of the processors, in seconds.
func cpuOf(name string, withPostgres bool) func(*findings) float64 {
	return func(f *findings) float64 {
		return f.figure(name, few, func(s *sample) float64 {
			took := s.server
			if withPostgres {
				took += s.postgres
			}
			return s.perThousand(took)
		})
	}
}

// syncsOf is how often a certificate waits for the disk.
func syncsOf(name string) func(*findings) float64 {
	return func(f *findings) float64 { return f.counts[f.contestant(name)].syncs }
}

// p99Of is the 99th percentile of a step, in milliseconds.
func p99Of(name string, step generator.Step) func(*findings) float64 {
	return func(f *findings) float64 {
		return f.figure(name, few, func(s *sample) float64 { return milliseconds(s.Latencies[step].Percentile(99)) })
	}
}

// memoryOf is the most memory that the server had, in MiB.
func memoryOf(name string) func(*findings) float64 {
	return func(f *findings) float64 {
		return f.figure(name, many, func(s *sample) float64 { return float64(s.peak) / (1 << 20) })
	}
}

// writeTargets writes the targets that could be measured, and whether they are met.
func (f *findings) writeTargets(b *bytes.Buffer) {
	b.WriteString("\n")
	head(b, "target", "wanted", "found", "met", fmt.Sprintf("estimated, where step-ca on badger takes %v CPU-s", referenceStepCA))
	for _, t := range targets {
		want, found := t.want(f), t.found(f)
		if want == 0 || found == 0 {
			continue
		}
		sign, met := "≤", found <= want
		if t.least {
			sign, met = "≥", found >= want
		}
		mark := "no"
		if met {
			mark = "yes"
		}
		row(b, t.text, fmt.Sprintf("%s %.4g", sign, want), fmt.Sprintf("%.4g", found), mark, t.asThere(f))
	}
}
