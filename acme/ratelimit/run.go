package ratelimit

import (
	"context"
	"fmt"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Source is where the policy for all replicas is: the store.
type Source interface {
	// SyncRateLimitPolicy reports which generation the replica enforces, and returns
	// the policy in force where that is another; else nil.
	SyncRateLimitPolicy(ctx context.Context, replica string, enforced int64) (*acme.RateLimitPolicy, error)
	// ForgetReplica takes back what a replica has reported: it ends.
	ForgetReplica(ctx context.Context, replica string) error
}

const (
	// pollInterval is half of the second within which a change is to be enforced.
	pollInterval = 500 * time.Millisecond
	// pollTimeout bounds one call of the source.
	pollTimeout = 2 * time.Second
)

// Run enforces the policy of source until ctx ends: a change within a second of
// its making. While the source cannot be asked, or has what cannot be enforced,
// the policy in force stays; failed is told of the first of such errors in a row.
// At its end the source is told, so that nobody waits for this replica to enforce
// a policy: one that cannot be told forgets a replica that is silent by itself.
func (l *Limiter) Run(ctx context.Context, source Source, replica string, failed func(error)) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	silent := false
	for ctx.Err() == nil {
		changed, err := l.poll(ctx, source, replica)
		if err != nil && !silent && ctx.Err() == nil {
			failed(err)
		}
		silent = err != nil
		if changed { // report it at once
			continue
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollTimeout)
	defer cancel()
	if err := source.ForgetReplica(ctx, replica); err != nil {
		failed(err)
	}
}

// poll asks the source once.
func (l *Limiter) poll(ctx context.Context, source Source, replica string) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	p, err := source.SyncRateLimitPolicy(ctx, replica, l.Enforced().Generation)
	if err != nil || p == nil {
		return false, err
	}
	if err := p.Validate(); err != nil { // of a newer operator
		return false, fmt.Errorf("rate limit policy %d: %w", p.Generation, err)
	}
	l.Enforce(*p)
	return true, nil
}
