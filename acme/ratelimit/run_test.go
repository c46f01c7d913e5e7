package ratelimit_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
)

// source has a policy, and remembers what was reported last.
type source struct {
	mu       sync.Mutex
	policy   acme.RateLimitPolicy
	reported int64
	forgot   bool
	err      error
}

func (s *source) ForgetReplica(ctx context.Context, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot = ctx.Err() == nil
	return nil
}

func (s *source) SyncRateLimitPolicy(_ context.Context, _ string, enforced int64) (*acme.RateLimitPolicy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported = enforced
	if s.err != nil || s.policy.Generation == enforced {
		return nil, s.err
	}
	p := s.policy
	return &p, nil
}

func TestAChangedPolicyIsEnforcedAndReportedWithinASecondAndSurvivesItsSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s, l := &source{}, ratelimit.New(acme.RateLimitPolicy{})
		failures := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Run(ctx, s, "a", func(error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				failures++
			})
		}()
		second := func() { <-time.After(time.Second); synctest.Wait() } // of the test's own clock
		for _, step := range []struct {
			says     string
			change   func()
			enforced int64
			failures int
		}{
			{"a change", func() { s.policy.Generation = 7 }, 7, 0},
			{"a source that cannot be asked", func() { s.err = errors.New("down"); s.policy.Generation = 8 }, 7, 1},
			{"one that still cannot", func() {}, 7, 1},
			{"one that can again", func() { s.err = nil }, 8, 1},
			{"a policy that cannot be enforced", func() {
				s.policy = acme.RateLimitPolicy{Generation: 9, Limits: map[acme.LimitName]acme.Limit{"none": {Count: 1}}}
			}, 8, 2},
			{"an older one", func() { s.policy = acme.RateLimitPolicy{Generation: 1} }, 1, 2},
		} {
			s.mu.Lock()
			step.change()
			s.mu.Unlock()
			second()
			s.mu.Lock()
			if got := l.Enforced().Generation; got != step.enforced || s.reported != step.enforced || failures != step.failures {
				t.Errorf("%s: enforced %d, reported %d, %d failures; want %d and %d failures", step.says, got, s.reported, failures, step.enforced, step.failures)
			}
			s.mu.Unlock()
		}
		stop()
		<-done
		if !s.forgot {
			t.Error("the source still waits for a replica that has ended")
		}
	})
}
