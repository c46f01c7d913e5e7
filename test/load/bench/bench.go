package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// options are the flags.
type options struct {
	rounds           int
	warmup, duration time.Duration
	workers          []int
	only             string
	out              string
}

// run measures as the arguments say: all servers, this one by k6, on a database that has
// grown, or in several replicas. Progress goes to standard error.
func run(ctx context.Context, args []string) error {
	if _, err := os.Stat("go.mod"); err != nil {
		return errors.New("run this in the root of the repository: it builds what it measures")
	}
	others := map[string]func(context.Context, []string) error{"k6": runK6, "grow": runGrow, "replicas": runReplicas}
	if len(args) > 0 && others[args[0]] != nil {
		return others[args[0]](ctx, args[1:])
	}
	o := options{workers: []int{few, many}}
	flags := o.flags("bench")
	flags.Func("workers", "how many issuances there are at a time, as a `list` (default 8,32)", o.parseWorkers)
	flags.StringVar(&o.only, "only", "", "measure the servers whose name has this `text` in it")
	flags.StringVar(&o.out, "out", "", "the `file` whose tables to replace; default: they are printed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return inLab(ctx, o.bench, o.write)
}

// inLab measures in a lab, and writes what was found once that is closed.
func inLab(ctx context.Context, measure func(context.Context, *lab) (*findings, error), write func(*findings) error) error {
	l, err := newLab(ctx)
	if err != nil {
		return err
	}
	f, err := measure(ctx, l)
	if err := errors.Join(err, l.close()); err != nil {
		return err
	}
	return errors.Join(write(f), errors.Join(f.errs...))
}

// parseWorkers reads a list of numbers.
func (o *options) parseWorkers(text string) error {
	o.workers = nil
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is not a number of workers", field)
		}
		o.workers = append(o.workers, n)
	}
	return nil
}

// The marks between which a file's tables stand.
const (
	tablesBegin = "<!-- tables: make bench BENCH='-out %s' -->\n"
	tablesEnd   = "<!-- end of tables -->\n"
)

// write writes the tables, to standard output or into the file between its marks.
func (o *options) write(f *findings) error {
	if o.out == "" {
		return f.write(os.Stdout)
	}
	text, err := os.ReadFile(o.out)
	if err != nil {
		return err
	}
	begin := fmt.Sprintf(tablesBegin, o.out)
	before, rest, begins := strings.Cut(string(text), begin)
	_, after, ends := strings.Cut(rest, tablesEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %q and %q with the tables between them", o.out, begin, tablesEnd)
	}
	var b strings.Builder
	if err := f.write(&b); err != nil {
		return err
	}
	return os.WriteFile(o.out, []byte(before+begin+"\n"+b.String()+"\n"+tablesEnd+after), 0o644) //nolint:gosec // a page of documentation
}

// bench builds the servers and measures them.
func (o *options) bench(ctx context.Context, l *lab) (*findings, error) {
	f := &findings{options: o, samples: map[load][]*sample{}, counts: map[*contestant]counts{}, hung: map[*contestant]int{}}
	f.machine, f.verify = machine(ctx)
	binaries := map[string]string{}
	for i := range contestants {
		c := &contestants[i]
		if !strings.Contains(c.name, o.only) {
			continue
		}
		f.contestants = append(f.contestants, c)
		if binaries[c.program] != "" {
			continue
		}
		progress("building %s", c.program)
		var err error
		if binaries[c.program], err = l.build(ctx, "server"+strconv.Itoa(i), c.module, c.program); err != nil {
			return nil, err
		}
	}
	// In turn, so that what changes in the machine meanwhile is the same for all.
	for round := range o.rounds {
		for _, c := range f.contestants {
			progress("round %d of %d: %s", round+1, o.rounds, c.name)
			if err := o.compare(ctx, l, f, c, binaries[c.program]); err != nil {
				f.fails(c, err)
			}
		}
	}
	for _, c := range f.contestants {
		if c.postgres {
			progress("counting for each certificate: %s", c.name)
			n, err := l.count(ctx, c, binaries[c.program], o.duration)
			if err != nil {
				f.fails(c, err)
			}
			f.counts[c] = n
		}
		if c.own() {
			if err := o.vary(ctx, l, f, c, binaries[c.program]); err != nil {
				f.fails(c, err)
			}
		}
	}
	return f, ctx.Err()
}

// compare measures a contestant once with each number of workers.
func (o *options) compare(ctx context.Context, l *lab, f *findings, c *contestant, binary string) error {
	r, err := l.run(ctx, c, binary)
	if err != nil {
		return err
	}
	for _, workers := range o.workers {
		// With an account for each worker: some servers fail orders of one account that
		// come at once.
		s, err := r.measure(ctx, generator.Config{Workers: workers, Accounts: workers}, o.warmup, o.duration)
		if err != nil {
			return errors.Join(err, r.end())
		}
		f.add(load{contestant: c, workers: workers}, s)
	}
	return r.end()
}

// variation is another load on this server.
type variation struct {
	name   string
	names  int // in an order
	config generator.Config
}

// variations lists the other loads.
var variations = []variation{
	{"RSA account keys (RS256)", 1, generator.Config{Keys: generator.RS256}},
	{"10 names", 10, generator.Config{}},
	{"100 names", 100, generator.Config{}},
	{"renewals (RFC 9773)", 1, generator.Config{Renew: true}},
	{"100 a second, whatever becomes of them", 1, generator.Config{Rate: 100, Workers: 64}},
}

// vary measures this server under other loads, once.
func (o *options) vary(ctx context.Context, l *lab, f *findings, c *contestant, binary string) error {
	r, err := l.run(ctx, c, binary)
	if err != nil {
		return err
	}
	for _, v := range variations {
		config := v.config
		if v.names > 1 {
			if config.Orders, err = generator.MakeOrders(2000/v.names, v.names); err != nil {
				return errors.Join(err, r.end())
			}
		}
		s, err := r.measure(ctx, config, o.warmup, o.duration)
		if err != nil {
			return errors.Join(err, r.end())
		}
		f.add(load{contestant: c, variation: v.name}, s)
	}
	return r.end()
}

// load is what a sample was taken under.
type load struct {
	contestant *contestant
	workers    int    // of the comparison
	variation  string // or the name of one
}

// String names the load.
func (l load) String() string {
	if l.variation != "" {
		return l.contestant.name + ", " + l.variation
	}
	return fmt.Sprintf("%s, %d workers", l.contestant.name, l.workers)
}

// findings are all that was measured.
type findings struct {
	options     *options
	machine     string
	verify      float64 // P-256 signatures that a core verifies in a second; 0 where unknown
	contestants []*contestant
	samples     map[load][]*sample
	counts      map[*contestant]counts
	// hung counts the samples without answers, which are in no median.
	hung map[*contestant]int
	// errs are of measurements of this server that could not be made. The others go on.
	errs []error
}

// fails enters that a measurement could not be made. Of another server that is a
// finding, of this one an error.
func (f *findings) fails(c *contestant, err error) {
	progress("%v", err)
	if c.own() {
		f.errs = append(f.errs, err)
	} else {
		f.hung[c]++
	}
}

// add enters a sample and says how it was.
func (f *findings) add(l load, s *sample) {
	if s.hung() {
		f.fails(l.contestant, fmt.Errorf("%s: no answers: %w", l, s.LastFailure))
		return
	}
	f.samples[l] = append(f.samples[l], s)
	progress("  %s: %.0f flows/s, %.2f + %.2f CPU-s per 1,000", l, s.Rate(), s.perThousand(s.server), s.perThousand(s.postgres))
	if s.Failed() > 0 {
		progress("  %d failed: %v; last: %v", s.Failed(), s.Failures, s.LastFailure)
	}
}

// median returns the median of a figure of the samples; the lower of the two in the
// middle.
func median(samples []*sample, figure func(*sample) float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	figures := make([]float64, len(samples))
	for i, s := range samples {
		figures[i] = figure(s)
	}
	slices.Sort(figures)
	return figures[(len(figures)-1)/2]
}

// progress says what is being done.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
