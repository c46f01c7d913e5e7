package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// abandoned is the SQLSTATE of a transaction that was given up because what it had
// spent for was not done.
const abandoned = "ACME1"

// notRefused is the condition of what is paid for: the function spend, which ran
// before in the same transaction, has refused nothing.
const notRefused = `coalesce(current_setting('acme.refused', true), '') = ''`

// payment is the spends of one transaction and what came of them.
type payment struct {
	spends  []acme.Spend
	quotas  []acme.Quota
	refused *acme.LimitError
}

// queueSpends queues the taking of spends, before all that they pay for. The
// statements that follow must have notRefused as a condition. What was spent and
// is not needed is given back by [payment.queueAbandon].
//
// wanted is a condition of SQL without which nothing is spent; its parameters
// begin at $11. account is what orders are counted of, and renewals are looked for.
//
// Deadlocks are ruled out by one order for all: limits by name and subject, then
// authorizations, then orders.
func (s *Store) queueSpends(b *pgx.Batch, spends []acme.Spend, account acme.ID, wanted string, args ...any) *payment {
	p := &payment{spends: acme.SortSpends(spends)}
	if len(spends) == 0 {
		return p
	}
	n := len(p.spends)
	names, subjects := make([]string, n), make([]string, n)
	emissions, most := make([]int64, n), make([]int64, n)
	checks, dry, exempt := make([]bool, n), make([]bool, n), make([]bool, n)
	var renewal []byte // of the one order that all are for
	var lifetime any
	for i, sp := range p.spends {
		names[i], subjects[i], most[i] = string(sp.Limit), sp.Subject, int64(sp.Of.Most())
		checks[i], dry[i] = sp.Check, sp.DryRun || sp.Recorded
		if !sp.Limit.Counted() {
			emissions[i] = sp.Of.Emission().Microseconds()
		}
		if sp.Renewal != (acme.Renewal{}) {
			exempt[i], renewal = true, p.spends[i].Renewal.Names[:]
		}
		if sp.Renewal.Lifetime > 0 {
			lifetime = sp.Renewal.Lifetime
		}
	}
	b.Queue(`SELECT refused, wait, remaining, reset, exceeded FROM spend(`+wanted+`, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		append([]any{uuidOf(account), names, subjects, emissions, most, checks, dry, exempt, renewal, lifetime}, args...)...).
		QueryRow(func(row pgx.Row) error { return s.scanSpends(row, p) })
	return p
}

// scanSpends reads what came of spends.
func (s *Store) scanSpends(row pgx.Row, p *payment) error {
	var refused pgtype.Int4
	var wait pgtype.Int8
	var remaining, reset []int64
	var exceeded []bool
	if err := row.Scan(&refused, &wait, &remaining, &reset, &exceeded); err != nil {
		return err
	}
	if refused.Valid {
		sp := p.spends[refused.Int32-1]
		p.refused = &acme.LimitError{
			Limit: sp.Limit, Subject: sp.Subject, Of: sp.Of, RetryAfter: time.Duration(wait.Int64) * time.Microsecond,
		}
		s.metrics.limited.WithLabelValues(string(sp.Limit), "refused").Inc()
		return nil
	}
	for i := range remaining { // none where nothing was wanted
		if remaining[i] < 0 { // a renewal does not owe it
			continue
		}
		sp := p.spends[i]
		p.quotas = append(p.quotas, acme.Quota{
			Limit: sp.Limit, Of: sp.Of, Remaining: int(remaining[i]),
			Reset: time.Duration(reset[i]) * time.Microsecond, Exceeded: exceeded[i],
		})
		if exceeded[i] && !sp.Recorded {
			s.metrics.limited.WithLabelValues(string(sp.Limit), "dry run").Inc()
		}
	}
	return nil
}

// queueAbandon queues the end of the transaction, unless what was paid for is
// there: a condition of SQL.
func (p *payment) queueAbandon(b *pgx.Batch, done string, args ...any) {
	if len(p.spends) > 0 {
		b.Queue(`SELECT abandon() WHERE current_setting('acme.spent', true) = 'yes' AND NOT (`+done+`)`, args...)
	}
}

// settle returns the error of the transaction: that of a refusal where there was
// one, and none where it was only abandoned, as its statements have said why.
func (p *payment) settle(err error) error {
	var answer *pgconn.PgError
	switch {
	case err == nil && p.refused != nil:
		return p.refused
	case errors.As(err, &answer) && answer.Code == abandoned:
		p.quotas = nil
		return nil
	}
	return err
}

// Unpause forgets the failures in a row of a subject (an account and an identifier,
// see [acme.IdentifierSubject]), so that its orders are taken again; for a
// subject without failures it is [acme.ErrNotFound]. One round trip.
func (s *Store) Unpause(ctx context.Context, subject string) error {
	b, found := &pgx.Batch{}, false
	b.Queue(`DELETE FROM limits WHERE name = $1 AND subject = $2`, string(acme.PauseAfterConsecutiveFailures), subject).Exec(changed(&found))
	if err := s.send(ctx, "unpause", b); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("failures of %q: %w", acme.Excerpt(subject), acme.ErrNotFound)
	}
	return nil
}

// throttledRows bounds how many rows of each limit [Store.Throttled] reads.
const throttledRows = 10_000

// Throttled lists subjects that have used up a limit of a policy, those that wait
// longest first: at most a number of them. Limits that count orders are not among
// them: no time can tell. Nor are challenges that had too many responses: they are
// as many as there are validations, and of use to nobody. One round trip.
//
// It reads what was spent of each other limit that is not off, of 10,000 subjects at
// most: where there are more, some that are throttled may be left out. That is tens
// of milliseconds in the worst case, and a millisecond or two in most.
//
// It is the policy that says what is used up, and not what was in force when it
// was spent: another one throttles others from one moment to the next.
func (s *Store) Throttled(ctx context.Context, p *acme.RateLimitPolicy, atMost int) ([]acme.Throttle, error) {
	b := &pgx.Batch{}
	var throttled []acme.Throttle
	all, own := limitArrays{}, limitArrays{}
	for _, name := range slices.Sorted(maps.Keys(acme.Limits)) {
		if name != acme.ChallengeResponsesPerChallenge {
			all.add(name, "", p.LimitOf(name))
		}
	}
	for _, o := range p.Overrides {
		own.add(o.Limit, o.Subject, o.Of)
	}
	b.Queue(`
		WITH general AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS l (name, most, emission)),
		own AS (SELECT * FROM unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[]) AS l (name, subject, most, emission)),
		throttled AS (
			SELECT k.name, k.subject, CASE
				WHEN l.most = 0 THEN NULL
				WHEN l.emission > 0 THEN k.tat + l.emission * (1 - l.most) * interval '1 microsecond'
				WHEN k.failures >= l.most THEN k.tat END AS until
			FROM general, LATERAL (
				SELECT * FROM limits WHERE limits.name = general.name AND (general.most > 0 OR general.name = ANY ($4::text[]))
				ORDER BY limits.subject LIMIT $9) k
			LEFT JOIN own ON own.name = k.name AND own.subject = k.subject,
			LATERAL (SELECT coalesce(own.most, general.most) AS most, coalesce(own.emission, general.emission) AS emission) l
			WHERE k.tat > now())
		SELECT name, subject, until FROM throttled WHERE until > now() ORDER BY until DESC, name, subject LIMIT $8`,
		all.names, all.most, all.emissions, own.names, own.subjects, own.most, own.emissions, atMost, throttledRows).
		Query(func(rows pgx.Rows) (err error) {
			throttled, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t acme.Throttle, err error) {
				err = row.Scan((*string)(&t.Limit), &t.Subject, &t.Until)
				return t, err
			})
			return err
		})
	if err := s.send(ctx, "list throttled", b); err != nil {
		return nil, err
	}
	return throttled, nil
}

// limitArrays is limits as parameters: most is 0 where there is no limit, and an
// emission, in microseconds, where it is one that counts.
type limitArrays struct {
	names, subjects []string
	most, emissions []int64
}

// add adds a limit.
func (a *limitArrays) add(name acme.LimitName, subject string, l acme.Limit) {
	most, emission := int64(0), int64(0)
	if !l.Off() {
		most = int64(l.Most())
		if !name.Counted() {
			emission = l.Emission().Microseconds()
		}
	}
	a.names, a.subjects = append(a.names, string(name)), append(a.subjects, subject)
	a.most, a.emissions = append(a.most, most), append(a.emissions, emission)
}
