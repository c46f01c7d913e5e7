package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// report prints what a run saw.
func report(out io.Writer, r *generator.Result) error {
	fmt.Fprintf(out, "%.1f flows/s: %d in %.1f s, %d failed, %d missed\n", r.Rate(), r.Flows(), r.Elapsed.Seconds(), r.Failed(), r.Missed)
	fmt.Fprintf(out, "the load itself: %.2f CPU-s per 1,000 flows\n\n", 1000*r.CPU.Seconds()/float64(max(r.Flows(), 1)))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "step\tcount\tp50 ms\tp90 ms\tp99 ms\tlongest\t")
	for _, step := range generator.Steps {
		latencies := r.Latencies[step]
		if len(latencies) == 0 {
			continue
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t\n", step, len(latencies), milliseconds(latencies.Percentile(50)),
			milliseconds(latencies.Percentile(90)), milliseconds(latencies.Percentile(99)), milliseconds(latencies.Percentile(100)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range r.FailureKinds() {
		fmt.Fprintf(out, "\n%s: %s: %d", f.Step, f.Problem, r.Failures[f])
	}
	if r.LastFailure != nil {
		fmt.Fprintf(out, "\nlast: %s\n", r.LastFailure)
	}
	return nil
}

// milliseconds writes a latency.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }
