package acme

import (
	"fmt"
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
)

// Limits is the one table of limits: what a subject is, and the default. A
// default fits one ClusterIssuer, which is one account, serving a whole cluster.
var Limits = map[LimitName]struct {
	Subject string
	Default Limit
}{
	OrdersPerAccount:               {"the account", Limit{Count: 3000, Period: time.Hour}},
	ConcurrentOrdersPerAccount:     {"the account", Limit{Count: 1000}},
	AccountsPerAddress:             {"the client's address: IPv4 /32, IPv6 /64", Limit{Count: 100, Period: time.Hour}},
	KeyChangesPerAccount:           {"the account", Limit{Count: 5, Period: time.Hour}},
	ChallengeResponsesPerChallenge: {"the challenge", Limit{Count: 60, Period: time.Hour}},
	FailedValidationsPerIdentifier: {"the account and the identifier", Limit{Count: 60, Period: time.Hour}},
	CertificatesPerDomain:          {"the registered domain", Limit{}},
	CertificatesPerNameSet:         {"the exact set of identifiers", Limit{Count: 50, Period: 24 * time.Hour}},
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

// Spend is what a request takes from a limit. A store takes all spends of a
// transaction or none, by its own clock.
type Spend struct {
	Limit   LimitName
	Subject string
	Of      Limit
	// DryRun takes and reports but never refuses.
	DryRun bool
}

// Quota is what is left of a limit after a spend.
type Quota struct {
	Limit LimitName
	Of    Limit
	// Remaining is how many more there may be now.
	Remaining int
	// Reset is the time until Remaining is the burst again.
	Reset time.Duration
}

// LimitError says that a spend was refused, and with it the transaction. Nothing
// was changed.
type LimitError struct {
	Limit   LimitName
	Subject string
	Of      Limit
	// RetryAfter is when the same spend will be taken, if nothing else takes it
	// first; 0 where no time can tell.
	RetryAfter time.Duration
}

// Error names the limit and the subject.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%s of %s: %d used up", e.Limit, e.Subject, e.Of.Count)
}
