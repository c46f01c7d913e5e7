package validation

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestValidateReturnsTheRecordedResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		w, stop := newWorker(t, q, 1, proves)
		defer stop()
		v := q.start(acme.HTTP01)
		challenge, ok := validate(t, w, v)
		if !ok || challenge.Status != acme.ChallengeValid {
			t.Errorf("Validate returned %v, %t", challenge, ok)
		}
		if n := valueOf(t, w.metrics.attempts.WithLabelValues("http-01", "valid")); n != 1 {
			t.Errorf("%v attempts are counted as valid", n)
		}
	})
}

func TestAnAuthorizationLastsForAsLongAsItIsUsedAgain(t *testing.T) {
	t.Parallel()
	for reuse, want := range map[time.Duration]time.Duration{0: 0, 8 * time.Hour: 9 * time.Hour} { // an hour to finalize
		synctest.Test(t, func(t *testing.T) {
			q := new(memoryQueue)
			w, err := New(Config{Queue: q, Resolvers: []string{"192.0.2.1"}, AuthorizationReuse: reuse})
			if err != nil {
				t.Fatal(err)
			}
			w.methods = map[acme.ChallengeType]method{acme.HTTP01: methodFunc(proves)}
			v := q.start(acme.HTTP01)
			if _, ok := validate(t, w, v); !ok || v.Lasts != want {
				t.Errorf("reuse of %s: recorded as %s, %t; want %s", reuse, v.Lasts, ok, want)
			}
		})
	}
}

func TestTheWorkGoesOnAfterValidateHasReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		w, stop := newWorker(t, q, 1, func(ctx context.Context, _ *acme.Validation) *failure {
			time.Sleep(3 * time.Second) //nolint:forbidigo // the bubble's clock
			if ctx.Err() != nil {
				return failed(acme.Connection, "cut short")
			}
			return nil
		})
		defer stop()
		v := q.start(acme.HTTP01)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok := w.Validate(ctx, v); ok {
			t.Error("there was a result before the work was done")
		}
		if n := valueOf(t, w.metrics.inFlight); n != 1 {
			t.Errorf("%v attempts are in flight, want 1", n)
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // the bubble's clock
		if got := q.job(v).challenge.Status; got != acme.ChallengeValid {
			t.Errorf("the challenge is %s", got)
		}
	})
}

func TestFailuresThatTimeMayHealAreAttemptedThreeTimes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		healsAt int // the attempt that succeeds; 0: none
		final   bool
		want    acme.ChallengeStatus
		times   []time.Duration // of the attempts, in seconds since the first
	}{
		"it heals at the second":       {healsAt: 2, want: acme.ChallengeValid, times: []time.Duration{0, 1}},
		"it heals at the third":        {healsAt: 3, want: acme.ChallengeValid, times: []time.Duration{0, 1, 3}},
		"it does not heal":             {want: acme.ChallengeInvalid, times: []time.Duration{0, 1, 3}},
		"it cannot heal and is final":  {final: true, want: acme.ChallengeInvalid, times: []time.Duration{0}},
		"it succeeds at the first one": {healsAt: 1, want: acme.ChallengeValid, times: []time.Duration{0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := new(memoryQueue)
				start := time.Now()
				var times []time.Duration
				w, stop := newWorker(t, q, 2, func(_ context.Context, v *acme.Validation) *failure {
					times = append(times, time.Since(start)/time.Second)
					if v.Attempt == test.healsAt {
						return nil
					}
					return &failure{problem: acme.Problemf(acme.Connection, "attempt %d", v.Attempt), final: test.final}
				})
				defer stop()
				challenge, ok := validate(t, w, q.start(acme.HTTP01))
				if !ok || challenge.Status != test.want {
					t.Errorf("Validate returned %v, %t", challenge, ok)
				}
				if !slices.Equal(times, test.times) {
					t.Errorf("attempts were made after %d seconds, want %d", times, test.times)
				}
			})
		})
	}
}

func TestWhatFindsNoFreeSlotIsGivenBackAndTakenByAnyReplica(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		busy := func(ctx context.Context, _ *acme.Validation) *failure { <-ctx.Done(); return nil }
		here, stopHere := newWorker(t, q, 1, busy)
		defer stopHere()
		go validate(t, here, q.start(acme.HTTP01))
		synctest.Wait()

		second := q.start(acme.HTTP01)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok := here.Validate(ctx, second); ok {
			t.Error("a second attempt was made beside the first")
		}
		if got := q.job(second); got.Attempt != 0 || !got.Lease.IsZero() {
			t.Errorf("attempt %d, lease %s: it was not given back uncounted", got.Attempt, got.Lease)
		}
		_, stopThere := newWorker(t, q, 1, proves)
		defer stopThere()
		synctest.Wait()
		if got := q.job(second); got.challenge.Status != acme.ChallengeValid || got.Attempt != 1 {
			t.Errorf("the challenge is %s after attempt %d", got.challenge.Status, got.Attempt)
		}
	})
}

func TestABacklogIsWorkedOffWithoutWaitingForThePoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		start := time.Now()
		var mu sync.Mutex
		var atOnce, most int
		w, stop := newWorker(t, q, 4, func(context.Context, *acme.Validation) *failure {
			mu.Lock()
			atOnce++
			most = max(most, atOnce)
			mu.Unlock()
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's clock
			mu.Lock()
			atOnce--
			mu.Unlock()
			return nil
		})
		defer stop()
		var all sync.WaitGroup
		for range 40 {
			v := q.start(acme.HTTP01)
			all.Go(func() {
				if _, ok := validate(t, w, v); !ok {
					t.Error("no result")
				}
			})
		}
		all.Wait()
		if most > 4 {
			t.Errorf("%d attempts were made at once, want at most 4", most)
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("40 attempts of 10ms, four at once, took %s", took)
		}
	})
}

func TestAnotherReplicaGoesOnWithWhatACrashedOneHadBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		v := q.start(acme.HTTP01) // and whoever had the lease is gone
		start := time.Now()
		var attempted time.Duration
		_, stop := newWorker(t, q, 1, func(context.Context, *acme.Validation) *failure {
			attempted = time.Since(start)
			return nil
		})
		defer stop()
		time.Sleep(Lease + 2*pollInterval) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if attempted < Lease || q.job(v).challenge.Status != acme.ChallengeValid {
			t.Errorf("the challenge is %s, attempted after %s", q.job(v).challenge.Status, attempted)
		}
	})
}

func TestAResultOfALeaseThatWasLostIsNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		v := q.start(acme.HTTP01)
		q.mu.Lock()
		q.jobs[v.AuthorizationID].Lease = acme.NewID() // another replica took over
		q.mu.Unlock()
		w, stop := newWorker(t, q, 1, proves)
		defer stop()
		if challenge, ok := validate(t, w, v); ok {
			t.Errorf("Validate returned %v", challenge)
		}
		if n := valueOf(t, w.metrics.attempts.WithLabelValues("http-01", "unrecorded")); n != 1 {
			t.Errorf("%v attempts are counted as unrecorded", n)
		}
	})
}

func TestAPanicIsAFailureLikeOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		w, stop := newWorker(t, q, 1, func(_ context.Context, v *acme.Validation) *failure {
			if v.Attempt == 1 {
				panic("TOP-SECRET")
			}
			return nil
		})
		defer stop()
		v := q.start(acme.HTTP01)
		if challenge, ok := validate(t, w, v); !ok || challenge.Status != acme.ChallengeValid {
			t.Errorf("Validate returned %v, %t", challenge, ok)
		}
		first := q.job(v).problems[0]
		if first.Type != acme.ServerInternal || strings.Contains(first.Detail, "TOP-SECRET") {
			t.Errorf("the problem of the panic is %v", first)
		}
	})
}

// panickyQueue panics in the first RecordValidation.
type panickyQueue struct {
	*memoryQueue
	once sync.Once
}

func (q *panickyQueue) RecordValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, spends []acme.Spend) (acme.Challenge, error) {
	q.once.Do(func() { panic("a bug of the store") })
	return q.memoryQueue.RecordValidation(ctx, v, problem, spends)
}

func TestAPanicOfTheQueueLosesTheAttemptOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := &panickyQueue{memoryQueue: new(memoryQueue)}
		w, stop := newWorker(t, q, 1, proves)
		defer stop()
		if challenge, ok := validate(t, w, q.start(acme.HTTP01)); !ok || challenge.Status != acme.ChallengeValid {
			t.Errorf("Validate returned %v, %t", challenge, ok)
		}
	})
}

func TestAReplicaThatIsFullAndCannotSaySoDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		w, stop := newWorker(t, q, 1, func(context.Context, *acme.Validation) *failure {
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
			return failed(acme.Connection, "refused")
		})
		defer stop()
		first, second := q.start(acme.HTTP01), q.start(acme.HTTP01)
		go validate(t, w, first)
		synctest.Wait()
		q.setDown(acme.ErrUnavailable)
		start := time.Now()
		if _, ok := validate(t, w, second); ok || time.Since(start) > 0 {
			t.Errorf("Validate returned %t after %s", ok, time.Since(start))
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock; the first attempt's failure is not recorded
		q.setDown(nil)
		time.Sleep(2 * Lease) //nolint:forbidigo // the bubble's clock
		for _, v := range []*acme.Validation{first, second} {
			if got := q.job(v); got.challenge.Status != acme.ChallengeInvalid || got.recorded != 1 {
				t.Errorf("the challenge is %s, recorded %d times", got.challenge.Status, got.recorded)
			}
		}
	})
}

func TestAQueueThatIsDownLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		w, stop := newWorker(t, q, 1, proves)
		defer stop()
		v := q.start(acme.HTTP01)
		q.setDown(acme.ErrUnavailable)
		if _, ok := validate(t, w, v); ok {
			t.Error("there was a result that was not recorded")
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		if n := q.asked(); n > 100 {
			t.Errorf("a queue that is down was asked %d times in a minute", n)
		}
		q.setDown(nil)
		time.Sleep(2 * pollInterval) //nolint:forbidigo // the bubble's clock
		if got := q.job(v).challenge.Status; got != acme.ChallengeValid {
			t.Errorf("the challenge is %s", got)
		}
	})
}

func TestTheEndWaitsForAttemptsInFlight(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		takes time.Duration
		want  acme.ChallengeStatus
		ends  time.Duration
	}{
		"those that end within the grace are recorded": {takes: 4 * time.Second, want: acme.ChallengeValid, ends: 4 * time.Second},
		"others are given back, uncounted":             {takes: 9 * time.Second, want: acme.ChallengeProcessing, ends: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := new(memoryQueue)
				w, stop := newWorker(t, q, 2, func(ctx context.Context, _ *acme.Validation) *failure {
					select {
					case <-ctx.Done():
						return failed(acme.Connection, "%v", ctx.Err())
					case <-time.After(test.takes):
						return nil
					}
				})
				v := q.start(acme.HTTP01)
				ctx, cancel := context.WithCancel(t.Context())
				go w.Validate(ctx, v)
				synctest.Wait()
				start := time.Now()
				stop()
				cancel()
				got := q.job(v)
				if took := time.Since(start); took != test.ends || got.challenge.Status != test.want {
					t.Errorf("after %s the challenge is %s; want %s, %s", took, got.challenge.Status, test.ends, test.want)
				}
				if got.recorded == 0 && (got.Attempt != 0 || len(got.problems) > 0 || got.due.After(time.Now())) {
					t.Errorf("attempt %d, problems %v, due in %s: it was not given back untouched", got.Attempt, got.problems, time.Until(got.due))
				}

				late := q.start(acme.HTTP01)
				if _, ok := validate(t, w, late); ok || !q.job(late).Lease.IsZero() {
					t.Error("a worker that has ended took on a validation")
				}
			})
		})
	}
}

func TestAChallengeOfANewerReplicaIsLeftToIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		w, stop := newWorker(t, q, 1, proves)
		defer stop()
		v := q.start("dns-account-01")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, ok := w.Validate(ctx, v); ok {
			t.Error("a method that is not known gave a result")
		}
		if got := q.job(v); got.Attempt > 1 || len(got.problems) > 0 {
			t.Errorf("attempt %d, problems %v", got.Attempt, got.problems)
		}
	})
}

func TestAnIdleWorkerAsksAboutOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := new(memoryQueue)
		_, stop := newWorker(t, q, 8, proves)
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		stop()
		if n := q.asked(); n < 45 || n > 85 {
			t.Errorf("the queue was asked %d times in a minute", n)
		}
	})
}
