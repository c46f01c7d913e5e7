package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// SetRateLimitPolicy puts a policy of limits in force for all replicas, within a
// second, and returns its generation: that of before where nothing changed, for
// the policy's own is not looked at. One round trip, which writes and locks nothing
// where nothing changed.
//
// The first generation is the time in milliseconds, and each change is one more: where the
// schema was made anew, replicas that run must not take its policy for the one of the
// same number that they have.
func (s *Store) SetRateLimitPolicy(ctx context.Context, p acme.RateLimitPolicy) (generation int64, err error) {
	if err := p.Validate(); err != nil {
		return 0, fmt.Errorf("rate limit policy: %w", err)
	}
	p.Generation = 0
	text, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("rate limit policy: %w", err)
	}
	b := &pgx.Batch{}
	b.Queue(`
		INSERT INTO rate_limit_policy AS p (generation, policy)
		SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $1::jsonb
		WHERE NOT EXISTS (SELECT FROM rate_limit_policy WHERE singleton AND policy = $1::jsonb)
		ON CONFLICT (singleton) DO UPDATE SET generation = p.generation + 1, policy = EXCLUDED.policy
		WHERE p.policy <> EXCLUDED.policy`, text)
	b.Queue(`SELECT generation FROM rate_limit_policy WHERE singleton`).
		QueryRow(func(row pgx.Row) error { return row.Scan(&generation) })
	return generation, s.send(ctx, "set rate limit policy", b)
}

// RateLimitPolicy returns the policy of limits in force; the zero value, of
// generation 0, where none was ever set. One round trip.
func (s *Store) RateLimitPolicy(ctx context.Context) (acme.RateLimitPolicy, error) {
	b, p := &pgx.Batch{}, new(acme.RateLimitPolicy)
	queuePolicy(b, 0, &p)
	if err := s.send(ctx, "read rate limit policy", b); err != nil {
		return acme.RateLimitPolicy{}, err
	}
	return *p, nil
}

// SyncRateLimitPolicy reports which generation a replica enforces, and returns the
// policy in force where that is another; else nil. One round trip, which seldom
// writes: a report is good for [replicaExpiry].
func (s *Store) SyncRateLimitPolicy(ctx context.Context, replica string, enforced int64) (*acme.RateLimitPolicy, error) {
	b := &pgx.Batch{}
	var p *acme.RateLimitPolicy
	unhurried(b)
	b.Queue(`
		INSERT INTO replicas (name, generation, reported_at)
		SELECT $1::text, $2::bigint, now()
		WHERE NOT EXISTS (SELECT FROM replicas WHERE name = $1 AND generation = $2 AND reported_at > now() - $3::interval)
		ON CONFLICT (name) DO UPDATE SET generation = EXCLUDED.generation, reported_at = EXCLUDED.reported_at`,
		replica, enforced, replicaExpiry/4)
	queuePolicy(b, enforced, &p)
	return p, s.send(ctx, "sync rate limit policy", b)
}

// queuePolicy queues the reading of the policy, where it is not of the known generation.
func queuePolicy(b *pgx.Batch, known int64, p **acme.RateLimitPolicy) {
	b.Queue(`SELECT generation, policy FROM rate_limit_policy WHERE singleton AND generation <> $1`, known).
		QueryRow(optional(new(bool), func(row pgx.Row) error {
			var read acme.RateLimitPolicy
			var generation int64
			if err := row.Scan(&generation, &read); err != nil {
				return err
			}
			read.Generation = generation
			*p = &read
			return nil
		}))
}

// replicaExpiry is how long a replica is listed after its last report.
const replicaExpiry = 10 * time.Second

// ForgetReplica takes a replica off the list that does not serve any more, instead
// of at the expiry of its last report. One round trip, which waits for no disk.
func (s *Store) ForgetReplica(ctx context.Context, replica string) error {
	b := &pgx.Batch{}
	unhurried(b)
	b.Queue(`DELETE FROM replicas WHERE name = $1`, replica)
	return s.send(ctx, "forget replica", b)
}

// Replicas lists the replicas that reported of late, by name, with the generation
// of the policy that each enforces. One round trip.
func (s *Store) Replicas(ctx context.Context) ([]acme.Replica, error) {
	b := &pgx.Batch{}
	var replicas []acme.Replica
	b.Queue(`SELECT name, generation, reported_at FROM replicas WHERE reported_at > now() - $1::interval ORDER BY name`, replicaExpiry).
		Query(func(rows pgx.Rows) (err error) {
			replicas, err = pgx.CollectRows(rows, pgx.RowToStructByPos[acme.Replica])
			return err
		})
	if err := s.send(ctx, "list replicas", b); err != nil {
		return nil, err
	}
	return replicas, nil
}
