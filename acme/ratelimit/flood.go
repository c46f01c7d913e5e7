package ratelimit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// maxAddresses bounds the memory of a [Flood]: about 10 MB.
const maxAddresses = 1 << 16

// Flood guards one replica against floods of requests from one address. It is
// not exact and not shared, on purpose: it stands before anything is read, so
// that a flood costs nothing but itself. It is safe for concurrent use.
//
// Of two generations of addresses the older is forgotten when the younger is
// full: whoever has been quiet since then starts afresh.
type Flood struct {
	limiter *Limiter

	mu           sync.Mutex
	limit        acme.Limit // that young and old were made for
	young, older map[string]*rate.Limiter
}

// NewFlood returns a guard by the policy that l enforces.
func NewFlood(l *Limiter) *Flood { return &Flood{limiter: l, young: map[string]*rate.Limiter{}} }

// Admit takes one request of an address, and returns 0; where the address has sent
// too many, it returns when another would be taken. dry says that such a one is to
// be served all the same, and only counted.
func (f *Flood) Admit(client netip.Addr, now time.Time) (wait time.Duration, dry bool) {
	p := f.limiter.policy.Load()
	if p.RequestsPerAddress.Off() {
		return 0, p.DryRun
	}
	reservation := f.of(addressSubject(client), p.RequestsPerAddress).ReserveN(now, 1)
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now) // who is refused does not have to pay as well
	}
	return max(wait, 0), p.DryRun
}

// of returns the limiter of a subject.
func (f *Flood) of(subject string, limit acme.Limit) *rate.Limiter {
	f.mu.Lock()
	defer f.mu.Unlock()
	if limit != f.limit { // another policy: everybody starts afresh
		f.limit, f.young, f.older = limit, map[string]*rate.Limiter{}, nil
	}
	r, ok := f.young[subject]
	if ok {
		return r
	}
	if r, ok = f.older[subject]; !ok {
		r = rate.NewLimiter(rate.Every(limit.Emission()), limit.Most())
	}
	if len(f.young) >= maxAddresses/2 {
		f.older, f.young = f.young, make(map[string]*rate.Limiter, maxAddresses/2)
	}
	f.young[subject] = r
	return r
}
