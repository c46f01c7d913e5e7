// Package ratelimit is the arithmetic of limits: how a spend moves a theoretical
// arrival time (GCRA), which spends a request owes by the policy in force, and a
// guard against floods of requests that nobody has signed.
//
// It promises that its functions decide by their arguments only; the one clock
// that counts is that of the store, which applies the same arithmetic in its own
// transaction. It knows neither the store nor HTTP nor custom resources.
package ratelimit

import (
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Take spends one unit of a limit by the generic cell rate algorithm (ITU-T I.371,
// annex A). tat is the theoretical arrival time kept for the subject: when all
// that it has spent will be free again; the zero time for one that has spent
// nothing. It returns the time to keep and nil, or the time as it was and how
// long to wait.
//
// An example, 3 per minute: one unit is 20 s and the tolerance 60 s. Three spends
// at 12:00:00 move the time to 12:01:00. The fourth would move it to 12:01:20,
// which is 80 s ahead, so it waits 20 s.
func Take(tat, now time.Time, l acme.Limit) (kept time.Time, wait time.Duration, ok bool) {
	next := tat
	if next.Before(now) {
		next = now
	}
	next = next.Add(l.Emission())
	if ahead := next.Sub(now); ahead > l.Tolerance() {
		return tat, ahead - l.Tolerance(), false
	}
	return next, 0, true
}

// Left returns how many units may be spent now, and when all may.
func Left(tat, now time.Time, l acme.Limit) (remaining int, reset time.Duration) {
	reset = max(tat.Sub(now), 0)
	return max(int((l.Tolerance()-reset)/l.Emission()), 0), reset
}
