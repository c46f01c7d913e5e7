package acmetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
)

// memoryLimitKey names what a [memoryLimit] is of.
type memoryLimitKey struct {
	limit   acme.LimitName
	subject string
}

// memoryLimit is what was spent of a limit.
type memoryLimit struct {
	tat      time.Time // theoretical arrival time
	failures int       // in a row, good until then
}

// pauseLapse is how long a row of failures is remembered, as in acme/postgres.
const pauseLapse = 90 * 24 * time.Hour

// spend takes all spends of a transaction, or none.
func (m *Memory) spend(spends []acme.Spend, account acme.ID) ([]acme.Quota, error) {
	now := time.Now()
	spends = acme.SortSpends(spends)
	before := make(map[memoryLimitKey]memoryLimit, len(spends)+1)
	var quotas []acme.Quota
	var refused *acme.LimitError
	renewal := m.renew(spends, account, now, before)
	for _, sp := range spends {
		if renewal && sp.Renewal != (acme.Renewal{}) {
			continue
		}
		key := memoryLimitKey{sp.Limit, sp.Subject}
		if _, seen := before[key]; !seen {
			before[key] = m.limits[key]
		}
		q, wait := m.take(sp, account, now)
		if q.Exceeded && !sp.DryRun && !sp.Recorded && (refused == nil || wait > refused.RetryAfter) {
			refused = &acme.LimitError{Limit: sp.Limit, Subject: sp.Subject, Of: sp.Of, RetryAfter: wait}
		}
		quotas = append(quotas, q)
	}
	if refused == nil {
		return quotas, nil
	}
	for key, l := range before {
		m.limits[key] = l
		if l == (memoryLimit{}) {
			delete(m.limits, key)
		}
	}
	return nil, refused
}

// renew takes a renewal, where the order that spends are for is one, and enters what
// was before.
func (m *Memory) renew(spends []acme.Spend, account acme.ID, now time.Time, before map[memoryLimitKey]memoryLimit) bool {
	i := slices.IndexFunc(spends, func(sp acme.Spend) bool { return sp.Renewal != (acme.Renewal{}) })
	if i < 0 {
		return false
	}
	r := spends[i].Renewal
	if r.Lifetime == 0 {
		c := m.newest[memoryNames{account, r.Names}]
		if c == nil || !acme.RenewalDue(c, now) {
			return false
		}
		r.Lifetime = c.NotAfter.Sub(c.NotBefore)
	}
	key := memoryLimitKey{acme.Renewals, account.String() + "/" + r.Names.String()}
	before[key] = m.limits[key]
	kept, _, taken := ratelimit.Take(m.limits[key].tat, now, acme.RenewalLimit(r.Lifetime))
	m.limits[key] = memoryLimit{tat: kept}
	return taken
}

// take spends one unit of a limit, unless that is exceeded.
func (m *Memory) take(sp acme.Spend, account acme.ID, now time.Time) (q acme.Quota, wait time.Duration) {
	key := memoryLimitKey{sp.Limit, sp.Subject}
	l := m.limits[key]
	if !l.tat.After(now) {
		l = memoryLimit{}
	}
	q = acme.Quota{Limit: sp.Limit, Of: sp.Of}
	switch {
	case sp.Limit == acme.ConcurrentOrdersPerAccount:
		q.Remaining, q.Exceeded = left(sp, m.unfinished(account, now))
		return q, 0
	case sp.Limit.Counted() && sp.Check:
		q.Remaining, q.Exceeded = left(sp, l.failures)
		return q, 0
	case sp.Limit.Counted(): // failures in a row, which are counted and not refused
		l.failures++
		l.tat = now.Add(pauseLapse)
		q.Remaining = max(sp.Of.Count-l.failures, 0)
		m.limits[key] = l
		return q, 0
	}
	kept, wait, taken := ratelimit.Take(l.tat, now, sp.Of)
	q.Exceeded = !taken
	if taken && !sp.Check {
		m.limits[key] = memoryLimit{tat: kept}
		l.tat = kept
	}
	q.Remaining, q.Reset = ratelimit.Left(l.tat, now, sp.Of)
	return q, wait
}

// left returns what is left of a counted limit.
func left(sp acme.Spend, used int) (remaining int, exceeded bool) {
	remaining = sp.Of.Count - used
	if !sp.Check {
		remaining--
	}
	return max(remaining, 0), used >= sp.Of.Count
}

// unfinished counts the pending and ready orders of an account.
func (m *Memory) unfinished(account acme.ID, now time.Time) (n int) {
	for _, o := range m.orders {
		if o.AccountID == account && (o.Status == acme.OrderPending || o.Status == acme.OrderReady) && o.ExpiresAt.After(now) {
			n++
		}
	}
	return n
}

// Unpause forgets the failures in a row of a subject.
func (m *Memory) Unpause(ctx context.Context, subject string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := memoryLimitKey{acme.PauseAfterConsecutiveFailures, subject}
	if _, found := m.limits[key]; !found {
		return fmt.Errorf("failures of %q: %w", acme.Excerpt(subject), acme.ErrNotFound)
	}
	delete(m.limits, key)
	return nil
}

// Throttled lists subjects that have used up a limit of a policy, those that wait
// longest first.
func (m *Memory) Throttled(ctx context.Context, p *acme.RateLimitPolicy, atMost int) ([]acme.Throttle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	own := map[memoryLimitKey]acme.Limit{}
	for _, o := range p.Overrides {
		own[memoryLimitKey{o.Limit, o.Subject}] = o.Of
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var throttled []acme.Throttle
	now := time.Now()
	for key, l := range m.limits {
		if key.limit == acme.ChallengeResponsesPerChallenge || key.limit == acme.Renewals {
			continue
		}
		limit, ok := own[key]
		if !ok {
			limit = p.LimitOf(key.limit)
		}
		if until := l.until(key.limit, limit); until.After(now) {
			throttled = append(throttled, acme.Throttle{Limit: key.limit, Subject: key.subject, Until: stored(until)})
		}
	}
	slices.SortFunc(throttled, func(a, b acme.Throttle) int { return b.Until.Compare(a.Until) })
	return throttled[:min(len(throttled), atMost)], nil
}

// until is when one more is taken; the zero time where that is now.
func (l memoryLimit) until(name acme.LimitName, of acme.Limit) time.Time {
	switch {
	case of.Off(), name.Counted() && l.failures < of.Count:
		return time.Time{}
	case name.Counted():
		return l.tat
	}
	return l.tat.Add(of.Emission() - of.Tolerance())
}
