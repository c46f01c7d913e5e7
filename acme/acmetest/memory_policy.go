package acmetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// memoryPolicy is the policy in force, and who enforces which.
type memoryPolicy struct {
	text       string // JSON; empty for the built-in one
	generation int64
	replicas   map[string]acme.Replica
}

// replicaExpiry is how long a replica is listed after its last report, as in
// acme/postgres.
const replicaExpiry = 10 * time.Second

// SetRateLimitPolicy puts a policy of limits in force and returns its generation.
func (m *Memory) SetRateLimitPolicy(ctx context.Context, p acme.RateLimitPolicy) (generation int64, err error) {
	if err := cmp.Or(ctx.Err(), p.Validate()); err != nil {
		return 0, fmt.Errorf("rate limit policy: %w", err)
	}
	p.Generation = 0
	text, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("rate limit policy: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.policy.generation == 0:
		m.policy.text, m.policy.generation = string(text), time.Now().UnixMilli()
	case m.policy.text != string(text):
		m.policy.text = string(text)
		m.policy.generation++
	}
	return m.policy.generation, nil
}

// RateLimitPolicy returns the policy of limits in force.
func (m *Memory) RateLimitPolicy(ctx context.Context) (p acme.RateLimitPolicy, err error) {
	if err := ctx.Err(); err != nil {
		return p, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.policy.text != "" {
		err = json.Unmarshal([]byte(m.policy.text), &p)
	}
	p.Generation = m.policy.generation
	return p, err
}

// SyncRateLimitPolicy reports which generation a replica enforces, and returns the
// policy in force where that is another.
func (m *Memory) SyncRateLimitPolicy(ctx context.Context, replica string, enforced int64) (*acme.RateLimitPolicy, error) {
	p, err := m.RateLimitPolicy(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.policy.replicas[replica] = acme.Replica{Name: replica, Generation: enforced, ReportedAt: stored(time.Now())}
	if p.Generation == enforced {
		return nil, nil
	}
	return &p, nil
}

// ForgetReplica takes a replica off the list that does not serve any more.
func (m *Memory) ForgetReplica(ctx context.Context, replica string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.policy.replicas, replica)
	return nil
}

// Replicas lists the replicas that reported of late, by name.
func (m *Memory) Replicas(ctx context.Context) ([]acme.Replica, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var replicas []acme.Replica
	for _, r := range m.policy.replicas {
		if time.Since(r.ReportedAt) < replicaExpiry {
			replicas = append(replicas, r)
		}
	}
	slices.SortFunc(replicas, func(a, b acme.Replica) int { return cmp.Compare(a.Name, b.Name) })
	return replicas, nil
}
