package validation

import (
	"slices"
	"sync"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// waiters are the calls of Validate that wait for a result.
type waiters struct {
	mu      sync.Mutex
	waiting map[challengeName][]chan acme.Challenge
}

// challengeName names a challenge, whatever lease its validation has.
type challengeName struct {
	authorization acme.ID
	challenge     acme.ChallengeType
}

// nameOf returns the name of the challenge that v is to prove.
func nameOf(v *acme.Validation) challengeName { return challengeName{v.AuthorizationID, v.Type} }

// add returns a channel that gives the result of v, or is closed where it will
// not be known here. The caller calls forget when it waits no more.
func (w *waiters) add(v *acme.Validation) (result <-chan acme.Challenge, forget func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = make(map[challengeName][]chan acme.Challenge)
	}
	name, mine := nameOf(v), make(chan acme.Challenge, 1)
	w.waiting[name] = append(w.waiting[name], mine)
	return mine, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		rest := slices.DeleteFunc(w.waiting[name], func(c chan acme.Challenge) bool { return c == mine })
		if len(rest) == 0 {
			delete(w.waiting, name)
			return
		}
		w.waiting[name] = rest
	}
}

// notify tells the result of v to those who wait.
func (w *waiters) notify(v *acme.Validation, challenge acme.Challenge) {
	for _, c := range w.remove(v) {
		c <- challenge // has room for the one result
		close(c)
	}
}

// abandon tells those who wait for v that its result will not be known here.
func (w *waiters) abandon(v *acme.Validation) {
	for _, c := range w.remove(v) {
		close(c)
	}
}

// remove takes out those who wait for v.
func (w *waiters) remove(v *acme.Validation) []chan acme.Challenge {
	w.mu.Lock()
	defer w.mu.Unlock()
	removed := w.waiting[nameOf(v)]
	delete(w.waiting, nameOf(v))
	return removed
}
