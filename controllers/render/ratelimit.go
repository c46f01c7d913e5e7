package render

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// RateLimitPolicy returns a policy as servers enforce it. An error says what they
// would refuse.
func RateLimitPolicy(spec *v1alpha1.AcmeRateLimitPolicySpec) (acme.RateLimitPolicy, error) {
	p := acme.RateLimitPolicy{
		DryRun:        spec.Mode == v1alpha1.RateLimitDryRun,
		LimitRenewals: spec.ExemptRenewals != nil && !*spec.ExemptRenewals,

		PauseAfterConsecutiveFailures: int(spec.PauseAfterConsecutiveFailures),

		RequestsPerAddress: limitOf(spec.RequestsPerAddress),
	}
	for name, l := range map[acme.LimitName]*v1alpha1.RateLimit{
		acme.OrdersPerAccount:               spec.OrdersPerAccount,
		acme.AccountsPerAddress:             spec.AccountsPerAddress,
		acme.KeyChangesPerAccount:           spec.KeyChangesPerAccount,
		acme.ChallengeResponsesPerChallenge: spec.ChallengeResponsesPerChallenge,
		acme.FailedValidationsPerIdentifier: spec.FailedValidationsPerIdentifier,
		acme.CertificatesPerDomain:          spec.CertificatesPerDomain,
		acme.CertificatesPerNameSet:         spec.CertificatesPerNameSet,
	} {
		if l != nil {
			setLimit(&p, name, limitOf(l))
		}
	}
	if l := spec.ConcurrentOrdersPerAccount; l != nil {
		setLimit(&p, acme.ConcurrentOrdersPerAccount, limit(l.Count, nil, nil))
	}
	for _, o := range spec.Overrides {
		p.Overrides = append(p.Overrides, acme.LimitOverride{
			Limit: acme.LimitName(o.Limit), Subject: o.Subject, Of: limit(o.Count, o.Period, o.Burst),
		})
	}
	return p, p.Validate()
}

// setLimit replaces a default.
func setLimit(p *acme.RateLimitPolicy, name acme.LimitName, l acme.Limit) {
	if p.Limits == nil {
		p.Limits = map[acme.LimitName]acme.Limit{}
	}
	p.Limits[name] = l
}

// limitOf returns a limit; none where it is absent.
func limitOf(l *v1alpha1.RateLimit) acme.Limit {
	if l == nil {
		return acme.Limit{}
	}
	return limit(l.Count, l.Period, l.Burst)
}

// limit returns the limit of three fields. All that is not limited is one: no
// period of it makes a difference.
func limit(count *int32, period *metav1.Duration, burst *int32) acme.Limit {
	if count == nil || *count == 0 {
		return acme.Limit{}
	}
	l := acme.Limit{Count: int(*count)}
	if period != nil {
		l.Period = period.Duration
	}
	if burst != nil {
		l.Burst = int(*burst)
	}
	return l
}

// RateLimits returns the limits of a policy for people: each that there is, the
// defaults included.
func RateLimits(p *acme.RateLimitPolicy) map[string]string {
	limits := map[string]string{"requestsPerAddress": limitText("requestsPerAddress", p.RequestsPerAddress)}
	for name := range acme.Limits {
		limits[string(name)] = limitText(name, p.LimitOf(name))
	}
	return limits
}

// limitText returns a limit for people.
func limitText(name acme.LimitName, l acme.Limit) string {
	switch {
	case l.Off():
		return "none"
	case name == acme.PauseAfterConsecutiveFailures:
		return fmt.Sprintf("%d in a row", l.Count)
	case name.Counted():
		return fmt.Sprintf("%d at once", l.Count)
	case l.Most() != l.Count:
		return fmt.Sprintf("%d per %s, %d at once", l.Count, durationText(l.Period), l.Most())
	}
	return fmt.Sprintf("%d per %s", l.Count, durationText(l.Period))
}

// durationText returns a duration without the units that are zero.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
