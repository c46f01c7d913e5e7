package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

func TestTheMedianIsTheLowerOfTheTwoInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rates []int
		want  float64
	}{
		{nil, 0},
		{[]int{3}, 3},
		{[]int{9, 1, 5}, 5},
		{[]int{4, 1, 2, 3}, 2},
	} {
		var samples []*sample
		for _, rate := range test.rates {
			samples = append(samples, sampleOf(rate))
		}
		if got := median(samples, (*sample).Rate); got != test.want {
			t.Errorf("the median of %v is %g, want %g", test.rates, got, test.want)
		}
	}
}

// sampleOf returns a sample with a rate, a millisecond of processor time for each
// flow of the server, and half of one of Postgres.
func sampleOf(rate int) *sample {
	latencies := make(generator.Latencies, rate)
	for i := range latencies {
		latencies[i] = 2 * time.Millisecond
	}
	return &sample{
		Result: &generator.Result{Elapsed: time.Second, Latencies: map[generator.Step]generator.Latencies{
			generator.Flow: latencies, generator.NewOrder: latencies,
		}},
		server: time.Duration(rate) * time.Millisecond, postgres: time.Duration(rate) * time.Millisecond / 2, peak: 50 << 20,
	}
}

func TestTargetsAreHeldAgainstWhatWasFound(t *testing.T) {
	t.Parallel()
	f := &findings{options: &options{rounds: 1, workers: []int{few, many}}, verify: 11000, samples: map[load][]*sample{}, counts: map[*contestant]counts{}, hung: map[*contestant]int{}}
	for i, rate := range map[int]int{0: 940, 1: 400, 3: 250} {
		f.contestants = append(f.contestants, &contestants[i])
		for _, workers := range f.options.workers {
			f.samples[load{contestant: &contestants[i], workers: workers}] = []*sample{sampleOf(rate)}
		}
	}
	f.counts[&contestants[0]] = counts{syncs: 3}
	var text strings.Builder
	if err := f.write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| trusted, flows/s, 32 workers: 950 where a processor verifies 22,000 signatures a second | ≥ 475 | 940 | yes | 200 of 950 |",
		"| http-01, times the flows of step-ca on badger, http-01, 8 workers | ≥ 2 | 1.6 | no | – |",
		"| trusted, server, CPU-s per 1,000 | ≤ 1 | 1 | yes | 4.7 of 1 |",
		"| trusted, server + Postgres, CPU-s per 1,000 | ≤ 1.8 | 1.5 | yes | 7.05 of 1.8 |",
		"| trusted, syncs of the log per certificate | ≤ 2.2 | 3 | no | – |",
		"| trusted, newOrder p99, ms, 8 workers | ≤ 10 | 2 | yes | 9.4 of 10 |",
		"| trusted, memory, MiB, 32 workers | ≤ 100 | 50 | yes | – |",
	} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("no row %q in\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "http-01, times the flows of Pebble") {
		t.Error("there is a target about Pebble, which was not measured")
	}
}

func TestAServerThatDoesNotAnswerIsCountedAndInNoMedian(t *testing.T) {
	t.Parallel()
	f := &findings{options: &options{workers: []int{few}}, samples: map[load][]*sample{}, hung: map[*contestant]int{}}
	silent := sampleOf(1)
	silent.Failures = map[generator.Failure]int{{Step: generator.NewOrder, Problem: generator.NoProblem}: 8}
	silent.LastFailure = errors.New("i/o timeout")
	own, other := &contestants[1], &contestants[4]
	for _, c := range []*contestant{own, other} {
		f.contestants = append(f.contestants, c)
		for _, s := range []*sample{silent, sampleOf(300), silent} {
			f.add(load{contestant: c, workers: few}, s)
		}
		if got := f.rate(c.name, few); got != 300 {
			t.Errorf("the rate of %s is %g, want that of the sample with answers, 300", c.name, got)
		}
	}
	if f.hung[other] != 2 || len(f.errs) != 2 {
		t.Errorf("%d hung and %d errors; want two each: of another server it is a finding, of this one an error", f.hung[other], len(f.errs))
	}
}

func TestTablesReplaceThoseOfAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "page.md")
	o := options{out: file}
	if err := o.write(&findings{options: &o}); err == nil {
		t.Error("a file that is not there is no error")
	}
	page := "before\n" + fmt.Sprintf(tablesBegin, file) + "old\n" + tablesEnd + "after\n"
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := o.write(&findings{options: &o, machine: "a machine"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(text); !strings.HasPrefix(got, "before\n<!-- ") || !strings.HasSuffix(got, "\n"+tablesEnd+"after\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, "Machine: a machine") {
		t.Errorf("the page is\n%s", got)
	}
	if err := os.WriteFile(file, []byte("no marks\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := o.write(&findings{options: &o}); err == nil {
		t.Error("a file without marks is no error")
	}
}

func TestWorkersAreAListOfNumbers(t *testing.T) {
	t.Parallel()
	var o options
	if err := o.parseWorkers("1,16"); err != nil || cmp.Diff([]int{1, 16}, o.workers) != "" {
		t.Errorf("1,16 is %v (%v)", o.workers, err)
	}
	for _, text := range []string{"", "0", "8,", "eight"} {
		if err := o.parseWorkers(text); err == nil {
			t.Errorf("%q is taken for a list of numbers", text)
		}
	}
}

func TestThisServerIsMeasuredWithItsPostgres(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	binary, err := l.build(t.Context(), "acmeserver", "../../..", "./cmd/acmeserver")
	if err != nil {
		t.Fatal(err)
	}
	c := &contestants[1] // http-01
	r, err := l.run(t.Context(), c, binary)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.measure(t.Context(), generator.Config{Workers: 2, Accounts: 2}, 0, 3*time.Second) // a backend's processor time comes in hundredths of a second
	if err != nil {
		t.Fatal(err)
	}
	if s.Flows() == 0 || s.Failed() != 0 || s.server == 0 || s.postgres == 0 || s.peak < 1<<20 {
		t.Errorf("%d flows, %d failed (%v), %s + %s of the processors, %d bytes of memory", s.Flows(), s.Failed(), s.LastFailure, s.server, s.postgres, s.peak)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	replicas, f := &replication{turns: turns{options: options{workers: []int{2}, duration: time.Second}}}, &findings{samples: map[load][]*sample{}}
	if err := replicas.compareReplicas(t.Context(), l, f, c, binary, 2); err != nil {
		t.Fatal(err)
	}
	if all := f.samples[load{contestant: c, variation: "2 replicas, 2 workers"}]; len(all) != 1 || all[0].Flows() == 0 || all[0].Failed() != 0 {
		t.Errorf("of two replicas: %+v", f.samples)
	}
	n, err := l.count(t.Context(), c, binary, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	// newOrder, the challenge's result and finalize wait for the disk, and nothing else.
	if n.syncs < 2.9 || n.syncs > 5 || n.roundTrips < 5 || n.commits < n.syncs-1 || n.wal < 1000 {
		t.Errorf("for each certificate Postgres has %+v", n)
	}
}
