package acme

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// LimitName names a limit, as the custom resource and problems do.
type LimitName string

// The limits, each with an entry in [Limits].
const (
	OrdersPerAccount               LimitName = "ordersPerAccount"
	ConcurrentOrdersPerAccount     LimitName = "concurrentOrdersPerAccount"
	AccountsPerAddress             LimitName = "accountsPerAddress"
	KeyChangesPerAccount           LimitName = "keyChangesPerAccount"
	ChallengeResponsesPerChallenge LimitName = "challengeResponsesPerChallenge"
	FailedValidationsPerIdentifier LimitName = "failedValidationsPerIdentifier"
	CertificatesPerDomain          LimitName = "certificatesPerDomain"
	CertificatesPerNameSet         LimitName = "certificatesPerNameSet"
	PauseAfterConsecutiveFailures  LimitName = "pauseAfterConsecutiveFailures"
)

// Limits is the one table of limits: what a subject is, and the default. A
// default fits one ClusterIssuer, which is one account, serving a whole cluster:
// it stops a client that runs away, and none that works. What all of a private
// authority's clients may share (a domain, a gateway's address) has none, or a
// wide one.
var Limits = map[LimitName]struct {
	Subject string
	Default Limit
}{
	OrdersPerAccount:               {"the account", Limit{Count: 3000, Period: time.Hour}},
	ConcurrentOrdersPerAccount:     {"the account", Limit{Count: 1000}},
	AccountsPerAddress:             {"the client's address: IPv4 /32, IPv6 /64", Limit{Count: 1000, Period: time.Hour}},
	KeyChangesPerAccount:           {"the account", Limit{Count: 5, Period: time.Hour}},
	ChallengeResponsesPerChallenge: {"the challenge", Limit{Count: 60, Period: time.Hour}},
	FailedValidationsPerIdentifier: {"the account and the identifier", Limit{Count: 60, Period: time.Hour}},
	CertificatesPerDomain:          {"the registered domain", Limit{}},
	CertificatesPerNameSet:         {"the exact set of identifiers", Limit{}},
	PauseAfterConsecutiveFailures:  {"the account and the identifier", Limit{}},
}

// Counted reports whether a limit bounds how many there are at once, and so has
// no period: what it counts becomes free by other means than time.
func (n LimitName) Counted() bool {
	return n == ConcurrentOrdersPerAccount || n == PauseAfterConsecutiveFailures
}

// Limit is so many per period and subject. Where it has no period it bounds how
// many there are at once.
type Limit struct {
	// Count is how many; 0 is without limit.
	Count int `json:"count"`
	// Period is the time in which Count become free again, evenly.
	Period time.Duration `json:"period,omitempty"`
	// Burst is how many at once after a rest; 0 stands for Count.
	Burst int `json:"burst,omitempty"`
}

// Off reports whether the limit limits nothing.
func (l Limit) Off() bool { return l.Count <= 0 }

// Emission is the time in which one unit of a limit with a period becomes free
// again, in whole microseconds, as stores keep time.
func (l Limit) Emission() time.Duration {
	return max((l.Period / time.Duration(l.Count)).Truncate(time.Microsecond), time.Microsecond)
}

// Most is how many there may be at once: the burst, or all of a counted limit.
func (l Limit) Most() int {
	if l.Burst > 0 {
		return l.Burst
	}
	return l.Count
}

// Tolerance is how far ahead of now what was spent of a limit with a period may
// reach: the burst, as time.
func (l Limit) Tolerance() time.Duration { return l.Emission() * time.Duration(l.Most()) }

// Spend is what a request takes from a limit. A store takes all spends of a
// transaction or none, by its own clock.
type Spend struct {
	Limit   LimitName
	Subject string
	Of      Limit
	// Check only asks whether one could be taken: it is taken elsewhere.
	Check bool
	// Renewal is what the order may be a renewal of, which does not owe this; zero
	// where every order does.
	Renewal Renewal
	// Recorded is of a spend for what has happened already: it is taken where there is
	// room, refuses nothing, and is no dry run.
	Recorded bool
	// DryRun reports what would be refused, and refuses nothing. What would be
	// refused is not taken, as if it had been.
	DryRun bool
}

// SortSpends returns spends in the order in which a store takes them, which is the
// same for all transactions, so that none waits for another that waits for it.
func SortSpends(spends []Spend) []Spend {
	sorted := slices.Clone(spends)
	slices.SortStableFunc(sorted, func(a, b Spend) int {
		return cmp.Or(cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Subject, b.Subject))
	})
	return sorted
}

// IdentifierSubject is the subject that stands for an account and an identifier.
func IdentifierSubject(account ID, id Identifier) string {
	return account.String() + "/" + id.Base().Value
}

// Quota is what is left of a limit after a spend.
type Quota struct {
	Limit LimitName
	Of    Limit
	// Remaining is how many more there may be now.
	Remaining int
	// Reset is the time until Remaining is the burst again; 0 of a counted limit,
	// where no time can tell.
	Reset time.Duration
	// Exceeded says that the spend would have been refused, but for a dry run.
	Exceeded bool
}

// Throttle is a subject that has used up a limit.
type Throttle struct {
	Limit   LimitName
	Subject string
	// Until is when one more will be taken; of an identifier that is paused, when
	// its failures are forgotten.
	Until time.Time
}

// LimitError says that a spend was refused, and with it the transaction. Nothing
// was changed.
type LimitError struct {
	Limit   LimitName
	Subject string
	Of      Limit
	// RetryAfter is when all spends of the transaction will be taken, if nothing
	// else takes them first; 0 where no time can tell.
	RetryAfter time.Duration
}

// Error names the limit and the subject.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%s of %s: %d used up", e.Limit, e.Subject, e.Of.Count)
}
