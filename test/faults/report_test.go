package faults

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// row is what the table says of a run.
type row struct {
	load, fault string
	requests    int
	failed      map[string]int // by what the client saw
	recovery    time.Duration  // until the last request that failed, from when the fault was over
	slowest     time.Duration  // answer
	delivered   int            // certificates
}

// row returns what the table says of a run that began, was struck, and was over.
func (l *load) row(began, struck, over time.Time) row {
	all := l.recorder.all()
	r := row{requests: len(all), failed: map[string]int{}, delivered: len(l.deliveries)}
	before := 0
	for i := range all {
		e := &all[i]
		if e.ended.After(began) && e.ended.Before(struck) {
			before++
		}
		r.slowest = max(r.slowest, e.ended.Sub(e.began))
		if kind := e.failure(); kind != "" {
			r.failed[kind]++
			r.recovery = max(r.recovery, e.ended.Sub(over))
		}
	}
	r.load = fmt.Sprintf("%.0f requests/s", float64(before)/struck.Sub(began).Seconds())
	return r
}

// String formats the row in Markdown.
func (r row) String() string {
	var failed []string
	for _, kind := range slices.Sorted(maps.Keys(r.failed)) {
		failed = append(failed, fmt.Sprintf("%d %s", r.failed[kind], kind))
	}
	if len(failed) == 0 {
		failed = append(failed, "none")
	}
	return fmt.Sprintf("| %s | %s | %d | %s | %.1f s | %.1f s | %d | %d of %d |", r.load, r.fault, r.requests,
		strings.Join(failed, ", "), r.recovery.Seconds(), r.slowest.Seconds(), r.delivered, len(invariants), len(invariants))
}

// heading is that of the table.
const heading = `| load | fault | requests | failed | recovered after | slowest answer | certificates | invariants held |
| --- | --- | --- | --- | --- | --- | --- | --- |`

// The marks in a Markdown file that the table stands between.
const (
	tableBegin = "<!-- table of test/faults -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// report logs the table and, where all went well, writes it where it was asked for.
func report(t *testing.T, rows []row) {
	t.Helper()
	lines := []string{heading}
	for _, r := range rows {
		lines = append(lines, r.String())
	}
	text := strings.Join(lines, "\n") + "\n"
	t.Log("\n" + text)
	if *table == "" || t.Failed() {
		return
	}
	page, err := os.ReadFile(*table)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(page, []byte(tableBegin))
	_, after, ended := bytes.Cut(rest, []byte(tableEnd))
	if !ok || !ended {
		t.Fatalf("%s has no %q with %q after it", *table, tableBegin, tableEnd)
	}
	page = slices.Concat(before, []byte(tableBegin+text+tableEnd), after)
	if err := os.WriteFile(*table, page, 0o644); err != nil {
		t.Fatal(err)
	}
}
