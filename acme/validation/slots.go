package validation

import "sync"

// slots bounds how many attempts are made at once.
type slots struct {
	mu   sync.Mutex
	free int
	busy int
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

// take asks for one slot.
func (s *slots) take() taking {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.idle != nil:
		return closed
	case s.free == 0:
		s.starved = true
		return full
	}
	s.free--
	s.busy++
	return taken
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
