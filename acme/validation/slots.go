package validation

import (
	"sync"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// slots bounds how many attempts are made at once.
type slots struct {
	mu   sync.Mutex
	free int
	busy int
	// each is how many of an account may be busy for it to take another by itself;
	// what it has beyond that waits in the queue, which serves accounts in turn.
	each int
	held map[acme.ID]int // by account
	// starved says that somebody found no slot since the last release.
	starved bool
	// idle is set by close, and closed when nothing is busy after that.
	idle chan struct{}
}

// taking is what came of asking for a slot.
type taking int

const (
	taken taking = iota
	full
	closed
)

// newSlots returns n slots, of which an account takes at most a quarter by itself.
func newSlots(n int) *slots { return &slots{free: n, each: (n + 3) / 4, held: map[acme.ID]int{}} }

// take asks for one slot for an account.
func (s *slots) take(account acme.ID) taking {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.idle != nil:
		return closed
	case s.free == 0:
		s.starved = true
		return full
	case s.held[account] >= s.each:
		return full
	}
	s.free--
	s.busy++
	s.held[account]++
	return taken
}

// hold says for which account one of the slots is that takeHalf has taken.
func (s *slots) hold(account acme.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[account]++
}

// drop takes back what take or hold has said; the slot is still to be released.
func (s *slots) drop(account acme.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[account]--; s.held[account] <= 0 {
		delete(s.held, account)
	}
}

// takeHalf takes half of the free slots, rounded up, and returns how many.
func (s *slots) takeHalf() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := (s.free + 1) / 2
	if n == 0 {
		s.starved = true
	}
	s.free -= n
	s.busy += n
	return n
}

// release frees n slots, and reports whether somebody had found none.
func (s *slots) release(n int) (starved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	s.busy -= n
	if s.idle != nil && s.busy == 0 && n > 0 {
		close(s.idle)
	}
	starved, s.starved = s.starved && s.free > 0, s.starved && s.free == 0
	return starved
}

// close refuses slots from now on. The channel is closed when all are free.
func (s *slots) close() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = make(chan struct{})
	if s.busy == 0 {
		close(s.idle)
	}
	return s.idle
}
