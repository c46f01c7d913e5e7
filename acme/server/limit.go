package server

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// unlimited is a policy by which nothing is owed.
type unlimited struct{}

func (unlimited) NewOrder(acme.ID, []acme.Identifier, acme.Renewal) []acme.Spend { return nil }
func (unlimited) NewAuthorization(acme.ID, acme.Identifier) []acme.Spend         { return nil }
func (unlimited) NewAccount(netip.Addr) []acme.Spend                             { return nil }
func (unlimited) KeyChange(acme.ID) []acme.Spend                                 { return nil }
func (unlimited) ChallengeResponse(acme.ID, acme.ChallengeType) []acme.Spend     { return nil }

// clientOf returns the address that a request came from: that of the connection.
// What a header says of it (X-Forwarded-For) is the client's own word.
func clientOf(hr *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(hr.RemoteAddr)
	if err != nil { // a listener without addresses, such as a Unix socket
		return netip.Addr{}
	}
	return peer.Addr()
}

// errFlood marks the problem of a request that was not even looked at.
var errFlood = errors.New("flood")

// checkFlood refuses a request of an address that sends too many, before it costs
// anything. It may be any request: a poll, or one that finalizes. So it is shed as
// load is (503), which clients retry: of 429, some believe that the order is lost.
func (s *Server) checkFlood(r *request) error {
	if s.config.Flood == nil {
		return nil
	}
	wait, dry := s.config.Flood.Admit(r.client, time.Now())
	switch {
	case wait == 0:
		return nil
	case dry:
		s.metrics.floods.WithLabelValues("dry run").Inc()
		return nil
	}
	s.metrics.floods.WithLabelValues("refused").Inc()
	return fmt.Errorf("%w: %w", errFlood, &acme.Problem{
		Type: acme.ServerInternal, Status: http.StatusServiceUnavailable,
		RetryAfter: max(wait, time.Second), Link: s.config.Meta.RateLimits,
		Detail: fmt.Sprintf("requestsPerAddress: too many requests from %s; come back in %s", r.client, roundUp(wait)),
	})
}

// When to come back for a limit that no time tells the end of: when an order may
// have ended, and when the operator of this server may have done something.
const (
	countedRetry = time.Minute
	pausedRetry  = time.Hour
)

// limitProblem returns what a client is told of a limit: which, whose, and when to
// come back.
func (s *Server) limitProblem(e *acme.LimitError) *acme.Problem {
	p := &acme.Problem{Type: acme.RateLimited, RetryAfter: e.RetryAfter, Link: s.config.Meta.RateLimits}
	switch {
	case e.Limit == acme.PauseAfterConsecutiveFailures:
		p.RetryAfter = pausedRetry
		p.Detail = fmt.Sprintf("%s: %d validations failed in a row for %s; orders for it are paused until the operator of this server unpauses it",
			e.Limit, e.Of.Count, e.Subject)
	case e.Limit.Counted():
		p.RetryAfter = countedRetry
		p.Detail = fmt.Sprintf("%s: %d at once for %s, and as many are unfinished; finalize them or let them expire",
			e.Limit, e.Of.Count, e.Subject)
	default:
		p.RetryAfter = max(e.RetryAfter, time.Second)
		p.Detail = fmt.Sprintf("%s: %d per %s for %s, which are used up; come back after %s", e.Limit, e.Of.Count, e.Of.Period, e.Subject,
			s.config.Now().Add(roundUp(p.RetryAfter)).UTC().Format(time.RFC3339))
	}
	return p
}

// refusedQuota returns what is left of a limit that was exceeded: nothing.
func refusedQuota(e *acme.LimitError) []acme.Quota {
	return []acme.Quota{{Limit: e.Limit, Of: e.Of, Reset: e.RetryAfter}}
}

// writeQuotas sends what is left of limits (draft-ietf-httpapi-ratelimit-headers).
// t is when all of a quota is there again. A limit on how many there are at once
// has no window. Of a limit with several subjects, such as the domains of an order,
// it is the one with the least left.
func writeQuotas(h http.Header, quotas []acme.Quota) {
	var policies, left []string
	least := map[acme.LimitName]acme.Quota{}
	for _, q := range quotas {
		if other, ok := least[q.Limit]; !ok || q.Remaining < other.Remaining {
			least[q.Limit] = q
		}
	}
	for _, name := range slices.Sorted(maps.Keys(least)) {
		q := least[name]
		policy, rest := fmt.Sprintf("%q;q=%d", q.Limit, q.Of.Count), fmt.Sprintf("%q;r=%d", q.Limit, q.Remaining)
		if !q.Limit.Counted() {
			policy += fmt.Sprintf(";w=%d", seconds(q.Of.Period))
			rest += fmt.Sprintf(";t=%d", seconds(q.Reset))
		}
		policies, left = append(policies, policy), append(left, rest)
	}
	if len(quotas) > 0 {
		h.Set("RateLimit-Policy", strings.Join(policies, ", "))
		h.Set("RateLimit", strings.Join(left, ", "))
	}
}

// seconds returns a time in whole seconds, rounded up.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// roundUp returns a time of whole seconds.
func roundUp(d time.Duration) time.Duration { return time.Duration(seconds(d)) * time.Second }
