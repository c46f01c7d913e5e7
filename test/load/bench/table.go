package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// write writes the tables.
func (f *findings) write(out io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Machine: %s, shared by load, server and database.\nMedians of %d rounds of %s.%s\n\n", f.machine, f.options.rounds, f.options.duration, f.disturbance())
	f.writeComparison(&b)
	f.writeRatios(&b)
	f.writeTargets(&b)
	f.writeCounts(&b)
	f.writeVariations(&b)
	_, err := out.Write(b.Bytes())
	return err
}

// disturbance warns of figures that other programs have had a part in.
func (f *findings) disturbance() string {
	var all []*sample
	for _, samples := range f.samples {
		all = append(all, samples...)
	}
	share := median(all, func(s *sample) float64 { return 100 * s.others })
	const quiet = 10 // the kernel's work for connections is nobody's
	if share < quiet {
		return ""
	}
	return fmt.Sprintf(" **Other programs took %.0f %% of the processors meanwhile.**", share)
}

// row writes a row of a table.
func row(b *bytes.Buffer, cells ...string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }

// number writes a figure; 0 is one that was not measured.
func number(format string, figure float64) string {
	if figure == 0 {
		return "–"
	}
	return fmt.Sprintf(format, figure)
}

// head writes the head of a table whose first column is text and the others numbers.
func head(b *bytes.Buffer, cells ...string) {
	row(b, cells...)
	fmt.Fprintf(b, "|---|%s\n", strings.Repeat("--:|", len(cells)-1))
}

// writeComparison writes the table of all servers.
func (f *findings) writeComparison(b *bytes.Buffer) {
	if len(f.contestants) == 0 {
		return
	}
	few, many := f.options.workers[0], f.options.workers[len(f.options.workers)-1]
	cells := []string{"certificates issued"}
	for _, w := range f.options.workers {
		cells = append(cells, fmt.Sprintf("flows/s, %d workers", w))
	}
	head(b, append(cells, "server, CPU-s per 1,000", "server + Postgres", fmt.Sprintf("newOrder p99, ms, %d workers", few),
		"finalize p99", "flow p50 · p90 · p99", fmt.Sprintf("server's memory, MiB, %d workers", many), "load's own CPU-s per 1,000", "failed", "hung")...)
	for _, c := range f.contestants {
		samples := f.samples[load{contestant: c, workers: few}]
		cells := []string{c.name}
		failed := 0
		for _, w := range f.options.workers {
			of := f.samples[load{contestant: c, workers: w}]
			cells = append(cells, number("%.0f", median(of, (*sample).Rate)))
			for _, s := range of {
				failed += s.Failed()
			}
		}
		at := func(step generator.Step, p float64) string {
			return number("%.1f", median(samples, func(s *sample) float64 { return milliseconds(s.Latencies[step].Percentile(p)) }))
		}
		cpu := func(of func(*sample) time.Duration) string {
			return number("%.2f", median(samples, func(s *sample) float64 { return s.perThousand(of(s)) }))
		}
		row(b, append(cells,
			cpu(func(s *sample) time.Duration { return s.server }), cpu(func(s *sample) time.Duration { return s.server + s.postgres }),
			at(generator.NewOrder, 99), at(generator.Finalize, 99),
			at(generator.Flow, 50)+" · "+at(generator.Flow, 90)+" · "+at(generator.Flow, 99),
			number("%.0f", median(f.samples[load{contestant: c, workers: many}], func(s *sample) float64 { return float64(s.peak) / (1 << 20) })),
			cpu(func(s *sample) time.Duration { return s.CPU }), fmt.Sprint(failed), fmt.Sprint(f.hung[c]))...)
	}
}

// writeRatios writes how many times as fast this server is as each other.
func (f *findings) writeRatios(b *bytes.Buffer) {
	ours := f.contestant(ownHTTP01)
	if ours == nil || !slices.ContainsFunc(f.contestants, func(c *contestant) bool { return !c.own() }) {
		return
	}
	cells := []string{ours.name + ", times as many flows/s as"}
	for _, w := range f.options.workers {
		cells = append(cells, fmt.Sprintf("%d workers", w))
	}
	b.WriteString("\n")
	head(b, cells...)
	for _, c := range f.contestants {
		if c.own() {
			continue
		}
		cells := []string{c.name}
		for _, w := range f.options.workers {
			cells = append(cells, number("%.2f", f.ratio(ours.name, c.name, w)))
		}
		row(b, cells...)
	}
}

// ratio is how many times as many flows one server does as the other; 0 where one of
// them was not measured.
func (f *findings) ratio(one, other string, workers int) float64 {
	flows := f.rate(other, workers)
	if flows == 0 {
		return 0
	}
	return f.rate(one, workers) / flows
}

// rate is the flows in a second of a server; 0 where it was not measured.
func (f *findings) rate(name string, workers int) float64 {
	return f.figure(name, workers, (*sample).Rate)
}

// figure is the median of a figure of a server; 0 where it was not measured.
func (f *findings) figure(name string, workers int, of func(*sample) float64) float64 {
	return median(f.samples[load{contestant: f.contestant(name), workers: workers}], of)
}

// writeCounts writes what a certificate makes a database do.
func (f *findings) writeCounts(b *bytes.Buffer) {
	if len(f.counts) == 0 {
		return
	}
	b.WriteString("\n")
	head(b, "in Postgres for each certificate, at one worker", "round trips", "commits", "syncs of the log", "log, bytes")
	for _, c := range f.contestants {
		if n, ok := f.counts[c]; ok {
			row(b, c.name, fmt.Sprintf("%.1f", n.roundTrips), fmt.Sprintf("%.1f", n.commits), fmt.Sprintf("%.2f", n.syncs), fmt.Sprintf("%.0f", n.wal))
		}
	}
}

// writeVariations writes the table of the other loads.
func (f *findings) writeVariations(b *bytes.Buffer) {
	if !slices.ContainsFunc(f.contestants, (*contestant).own) {
		return
	}
	b.WriteString("\n")
	head(b, "other loads, 8 workers", "flows/s", "names/s", "server, CPU-s per 1,000", "server + Postgres", "flow p50, ms", "p99", "failed", "missed")
	for _, c := range f.contestants {
		for _, v := range variations {
			for _, s := range f.samples[load{contestant: c, variation: v.name}] {
				row(b, c.name+": "+v.name, fmt.Sprintf("%.0f", s.Rate()), fmt.Sprintf("%.0f", s.Rate()*float64(v.names)),
					fmt.Sprintf("%.2f", s.perThousand(s.server)), fmt.Sprintf("%.2f", s.perThousand(s.server+s.postgres)),
					fmt.Sprintf("%.1f", milliseconds(s.Latencies[generator.Flow].Percentile(50))),
					fmt.Sprintf("%.1f", milliseconds(s.Latencies[generator.Flow].Percentile(99))), fmt.Sprint(s.Failed()), fmt.Sprint(s.Missed))
			}
		}
	}
}

// contestant returns the one of a name, if it was measured.
func (f *findings) contestant(name string) *contestant {
	for _, c := range f.contestants {
		if c.name == name {
			return c
		}
	}
	return nil
}

// milliseconds returns a time as a number.
func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }
