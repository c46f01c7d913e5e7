package generator

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Step is a part of a flow that is timed: one request, but for [Flow].
type Step string

// The steps.
const (
	RenewalInfo   Step = "renewalInfo"
	NewOrder      Step = "newOrder"
	Authorization Step = "authorization"
	Challenge     Step = "challenge"
	Finalize      Step = "finalize"
	Poll          Step = "poll" // of an authorization or order that was not done at once
	Certificate   Step = "certificate"
	// Flow is the whole of them; in an open loop, from the moment in which it should
	// have begun.
	Flow Step = "flow"
)

// Steps lists the steps in their order.
var Steps = []Step{RenewalInfo, NewOrder, Authorization, Challenge, Finalize, Poll, Certificate, Flow}

// Failure is a kind of failure.
type Failure struct {
	Step Step
	// Problem is the type of the problem that the server answered with, or
	// [NoProblem].
	Problem string
}

// NoProblem stands for failures without a problem document: no connection, an
// answer that is none.
const NoProblem = "no problem document"

// record is what one worker saw.
type record struct {
	latencies map[Step][]time.Duration
	failures  map[Failure]int
	// last is the last failure's text.
	last error
}

func newRecord() *record {
	return &record{latencies: map[Step][]time.Duration{}, failures: map[Failure]int{}}
}

// took enters how long a step took.
func (r *record) took(s Step, d time.Duration) { r.latencies[s] = append(r.latencies[s], d) }

// failed enters a failure.
func (r *record) failed(s Step, err error) {
	f := Failure{Step: s, Problem: NoProblem}
	if p, ok := errors.AsType[*acme.Problem](err); ok {
		f.Problem = string(p.Type)
	}
	r.failures[f]++
	r.last = err
}

// Latencies are those of one step, in ascending order.
type Latencies []time.Duration

// Percentile returns the latency that p percent of them do not exceed (the nearest
// rank); 0 where there are none.
func (l Latencies) Percentile(p float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	rank := int(p / 100 * float64(len(l)))
	if float64(rank) < p/100*float64(len(l)) {
		rank++
	}
	return l[min(max(rank, 1), len(l))-1]
}

// Result is what a run saw.
type Result struct {
	// Elapsed is from the first flow's begin to the last one's end.
	Elapsed time.Duration
	// Latencies has the steps that succeeded.
	Latencies map[Step]Latencies
	Failures  map[Failure]int
	// Missed is how many flows of an open loop should have begun in the time, when no
	// worker was free.
	Missed int
	// CPU is what this process took of the processors, responders included.
	CPU time.Duration
	// LastFailure says one of the failures in full; nil where there is none.
	LastFailure error
}

// Flows is how many certificates were issued and downloaded.
func (r *Result) Flows() int { return len(r.Latencies[Flow]) }

// Rate is the flows per second.
func (r *Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Flows()) / r.Elapsed.Seconds()
}

// Failed is how many flows failed.
func (r *Result) Failed() int {
	n := 0
	for _, count := range r.Failures {
		n += count
	}
	return n
}

// FailureKinds lists the kinds of failures, by step and problem.
func (r *Result) FailureKinds() []Failure {
	return slices.SortedFunc(maps.Keys(r.Failures), func(a, b Failure) int {
		return cmp.Or(cmp.Compare(slices.Index(Steps, a.Step), slices.Index(Steps, b.Step)), cmp.Compare(a.Problem, b.Problem))
	})
}

// merge makes the result of what the workers saw.
func merge(records []*record, elapsed time.Duration) *Result {
	result := &Result{Elapsed: elapsed, Latencies: map[Step]Latencies{}, Failures: map[Failure]int{}}
	for _, r := range records {
		for step, latencies := range r.latencies {
			result.Latencies[step] = append(result.Latencies[step], latencies...)
		}
		for f, n := range r.failures {
			result.Failures[f] += n
		}
		if r.last != nil {
			result.LastFailure = r.last
		}
	}
	for _, latencies := range result.Latencies {
		slices.Sort(latencies)
	}
	return result
}
