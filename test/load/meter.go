package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/acme-ca/acme-ca-operator/test/load/gauge"
	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// meter reads what a server and its Postgres on this host take of it, as far as they
// were named.
type meter struct {
	pid         int    // of the server; 0 for none
	databaseURL string // empty for none
	postmaster  int
}

// reading is what was taken so far.
type reading struct {
	server, postgres time.Duration
	database         gauge.Database
}

// read reads the meter.
func (m *meter) read(ctx context.Context) (r reading, err error) {
	if m.pid != 0 {
		if r.server, err = gauge.CPU(m.pid); err != nil {
			return r, fmt.Errorf("-pid: %w", err)
		}
	}
	if m.databaseURL == "" {
		return r, nil
	}
	if m.postmaster == 0 {
		if m.postmaster, err = gauge.Postmaster(ctx, m.databaseURL); err != nil {
			return r, fmt.Errorf("-database-url: %w", err)
		}
	}
	if r.postgres, err = gauge.CPU(m.postmaster); err != nil {
		return r, fmt.Errorf("-database-url: %w", err)
	}
	if r.database, err = gauge.ReadDatabase(ctx, m.databaseURL); err != nil {
		return r, fmt.Errorf("-database-url: %w", err)
	}
	return r, nil
}

// report prints what was taken between two readings, for the flows of a run.
func (m *meter) report(out io.Writer, before, after reading, result *generator.Result) error {
	flows := float64(max(result.Flows(), 1))
	perThousand := func(d time.Duration) float64 { return 1000 * d.Seconds() / flows }
	if m.pid != 0 {
		peak, err := gauge.PeakMemory(m.pid)
		if err != nil {
			return fmt.Errorf("-pid: %w", err)
		}
		fmt.Fprintf(out, "the server: %.2f CPU-s per 1,000 flows, %d MiB of memory at most\n", perThousand(after.server-before.server), peak>>20)
	}
	if m.databaseURL != "" {
		d := after.database.Sub(before.database)
		fmt.Fprintf(out, "Postgres: %.2f CPU-s per 1,000 flows; for each %.1f commits, %.2f syncs of the log, %.0f bytes of it\n",
			perThousand(after.postgres-before.postgres), float64(d.Commits)/flows, float64(d.Syncs)/flows, float64(d.WAL)/flows)
	}
	return nil
}
