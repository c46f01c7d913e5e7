package validation

import (
	"cmp"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestAFirstAttemptIsMadeOfWhatIsProvedSoonAndLeavesTheRestToTheQueue(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prove methodFunc
		typ   acme.ChallengeType
		busy  int // attempts that are being made already, of two
		want  bool
	}{
		"what is proved":              {prove: proves, want: true},
		"what is proved late":         {prove: takes(patience + time.Millisecond)},
		"what is proved in time":      {prove: takes(patience - time.Millisecond), want: true},
		"what fails":                  {prove: func(context.Context, *acme.Validation) *failure { return failed(acme.Connection, "refused") }},
		"what panics":                 {prove: func(context.Context, *acme.Validation) *failure { panic("TOP-SECRET") }},
		"what this replica knows not": {prove: proves, typ: "dns-02"},
		"what finds a free slot":      {prove: proves, busy: 1, want: true},
		"what finds none":             {prove: proves, busy: 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			q := new(memoryQueue)
			w, stop := newWorker(t, q, 2, test.prove)
			for range test.busy {
				w.slots.take(acme.NewID())
			}
			start := time.Now()
			v := &acme.Validation{AuthorizationID: acme.NewID(), AccountID: acme.NewID(), Type: cmp.Or(test.typ, acme.HTTP01), Attempt: 1}
			if got := w.Prove(t.Context(), v); got != test.want {
				t.Errorf("%s: proved %t, want %t", name, got, test.want)
			}
			if took := time.Since(start); took > patience {
				t.Errorf("%s: took %s", name, took)
			}
			if n := valueOf(t, w.metrics.attempts.WithLabelValues("http-01", "valid")); (n == 1) != test.want {
				t.Errorf("%s: %v attempts are counted as valid", name, n)
			}
			w.release(test.busy)
			stop() // hangs where a slot was not given back
			if w.Prove(t.Context(), v) {
				t.Errorf("%s: a worker that has ended made an attempt", name)
			}
		})
	}
}

// takes is a method that needs some time.
func takes(d time.Duration) methodFunc {
	return func(ctx context.Context, _ *acme.Validation) *failure {
		select {
		case <-ctx.Done():
			return failed(acme.Connection, "%v", ctx.Err())
		case <-time.After(d):
			return nil
		}
	}
}
