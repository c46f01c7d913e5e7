package acme

import (
	"errors"
	"time"
)

// The defaults of [GarbagePolicy].
const (
	// DefaultGarbageBatch is some ten milliseconds' work, for a database of any
	// size (docs/performance.md).
	DefaultGarbageBatch           = 1000
	DefaultOrderRetention         = 30 * 24 * time.Hour
	DefaultAuthorizationRetention = 30 * 24 * time.Hour
	DefaultCertificateRetention   = 90 * 24 * time.Hour
)

// GarbagePolicy tells what a collection of garbage may delete. A retention of
// zero keeps its kind for ever.
type GarbagePolicy struct {
	// Batch bounds the rows that one sweep changes, and so how long it holds their
	// locks; 0 is [DefaultGarbageBatch].
	Batch int
	// Orders is the age, since it was made, at which an order is deleted that is
	// valid or invalid. One that has not expired is kept.
	Orders time.Duration
	// Authorizations is that of authorizations which are not pending.
	Authorizations time.Duration
	// Certificates is how long after its end a certificate is deleted, and with it
	// its order, should there be one still.
	Certificates time.Duration
}

// DefaultGarbagePolicy returns the policy of the defaults.
func DefaultGarbagePolicy() GarbagePolicy {
	return GarbagePolicy{
		Batch: DefaultGarbageBatch, Orders: DefaultOrderRetention,
		Authorizations: DefaultAuthorizationRetention, Certificates: DefaultCertificateRetention,
	}
}

// GarbageSweep is what came of one sweep.
type GarbageSweep struct {
	// Name says what was swept: it labels metrics, and stands in the status.
	Name string
	// Rows is the number of rows that were changed or deleted.
	Rows int64
	// More says that the batch was full: there may be work left.
	More bool
	// Overdue is how long the oldest row that is left has been due; 0 where none is.
	Overdue  time.Duration
	Duration time.Duration
	// Err says why the sweep did nothing.
	Err error
}

// GarbageReport has an entry for each sweep that the policy asked for, in their order.
type GarbageReport []GarbageSweep

// More reports whether any sweep left work.
func (r GarbageReport) More() bool {
	for _, s := range r {
		if s.More {
			return true
		}
	}
	return false
}

// Err joins the errors of the sweeps that failed.
func (r GarbageReport) Err() error {
	errs := make([]error, len(r))
	for i, s := range r {
		errs[i] = s.Err
	}
	return errors.Join(errs...)
}
