package acme

import (
	"fmt"
	"time"
)

// RateLimitPolicy is what limits are in force, as the store keeps it for all
// replicas. The zero value is the built-in defaults of [Limits].
type RateLimitPolicy struct {
	// Generation tells policies of one server apart: the store counts the changes, from
	// the time at which it was first told of one.
	// Replicas report the one that they enforce. 0 is the built-in policy.
	Generation int64 `json:"generation"`
	// DryRun counts and reports what would be refused, and refuses nothing.
	DryRun bool `json:"dryRun,omitempty"`
	// LimitRenewals takes away the exemption of renewals: orders that replace a
	// certificate which is due (RFC 9773 §5), or have exactly the identifiers of one
	// that is ([RenewalDue]).
	LimitRenewals bool `json:"limitRenewals,omitempty"`
	// Limits replace the defaults, by name.
	Limits map[LimitName]Limit `json:"limits,omitempty"`
	// Overrides are for single subjects.
	Overrides []LimitOverride `json:"overrides,omitempty"`
	// PauseAfterConsecutiveFailures is how many validations of an account and an
	// identifier may fail in a row, before its orders for it are refused until it is
	// unpaused; 0 is never.
	PauseAfterConsecutiveFailures int `json:"pauseAfterConsecutiveFailures,omitempty"`
	// RequestsPerAddress guards each replica against floods from one address, in
	// memory; no limit where its count is 0.
	RequestsPerAddress Limit `json:"requestsPerAddress,omitzero"`
}

// LimitOverride is a limit of one subject.
type LimitOverride struct {
	Limit   LimitName `json:"limit"`
	Subject string    `json:"subject"`
	Of      Limit     `json:"of"`
}

// Replica is a server that shares the store with others.
type Replica struct {
	Name string
	// Generation is that of the policy which it enforces.
	Generation int64
	ReportedAt time.Time
}

// Validate says what is wrong with a policy: every limit must be one of [Limits]
// and have a period, unless it is one of those that count.
func (p *RateLimitPolicy) Validate() error {
	for name, l := range p.Limits {
		if err := l.validate(name); err != nil {
			return err
		}
	}
	for _, o := range p.Overrides {
		if o.Subject == "" {
			return fmt.Errorf("an override of %s names no subject", o.Limit)
		}
		if _, known := Limits[o.Limit]; !known {
			return fmt.Errorf("override for %s: there is no limit %q", o.Subject, o.Limit)
		}
		if err := o.Of.validate(o.Limit); err != nil {
			return fmt.Errorf("override for %s: %w", o.Subject, err)
		}
	}
	if p.PauseAfterConsecutiveFailures < 0 {
		return fmt.Errorf("pauseAfterConsecutiveFailures is %d, less than 0", p.PauseAfterConsecutiveFailures)
	}
	return p.RequestsPerAddress.validate("requestsPerAddress")
}

// LimitOf returns the limit of every subject that has no override: of the policy,
// or else the default of [Limits].
func (p *RateLimitPolicy) LimitOf(name LimitName) Limit {
	if name == PauseAfterConsecutiveFailures {
		return Limit{Count: p.PauseAfterConsecutiveFailures}
	}
	if l, ok := p.Limits[name]; ok {
		return l
	}
	return Limits[name].Default
}

// maxPeriod bounds the periods of limits: a row is kept for as long.
const maxPeriod = 366 * 24 * time.Hour

// maxCount bounds counts and bursts, so that no arithmetic of theirs overflows.
const maxCount = 1_000_000

// validate says what is wrong with a limit of a name.
func (l Limit) validate(name LimitName) error {
	_, known := Limits[name]
	switch {
	case !known && name != "requestsPerAddress":
		return fmt.Errorf("there is no limit %q", name)
	case l.Count < 0 || l.Count > maxCount || l.Burst < 0 || l.Burst > maxCount:
		return fmt.Errorf("%s: count %d and burst %d; want 0 to %d", name, l.Count, l.Burst, maxCount)
	case l.Off():
		return nil
	case name.Counted() && (l.Period != 0 || l.Burst != 0):
		return fmt.Errorf("%s bounds how many there are at once: it has neither period nor burst", name)
	case !name.Counted() && (l.Period < time.Duration(l.Count)*time.Microsecond || l.Period > maxPeriod):
		return fmt.Errorf("%s: period %s; want at most %s, and a microsecond or more for each of the count", name, l.Period, maxPeriod)
	case !name.Counted() && l.Tolerance() > maxPeriod:
		return fmt.Errorf("%s: a burst of %d takes %s to become free; want at most %s", name, l.Burst, l.Tolerance(), maxPeriod)
	}
	return nil
}
