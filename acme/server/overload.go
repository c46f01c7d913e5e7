package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// errOverload marks the problem of a request that came when there was enough to do.
var errOverload = errors.New("overload")

// The bounds of the time after which those who were turned away come back. They are
// spread, or they would all be there again at the same moment.
const (
	minOverloadRetry = time.Second
	maxOverloadRetry = 10 * time.Second
)

// gate bounds how many requests are worked on at once.
type gate struct {
	most     int64
	inFlight atomic.Int64
}

// enter begins the work on a request, unless there is enough of it. It is called once
// the request is read, so that a client which sends slowly takes nobody's place.
func (r *request) enter() error {
	if n := r.gate.inFlight.Add(1); n > r.gate.most {
		r.gate.inFlight.Add(-1)
		return overloaded()
	}
	r.entered = true
	return nil
}

// overloaded returns the problem of a request that is turned away.
func overloaded() error {
	return fmt.Errorf("%w: %w", errOverload, &acme.Problem{
		// 503 is what clients retry; of 429 some believe that it is final.
		Type: acme.ServerInternal, Status: http.StatusServiceUnavailable,
		RetryAfter: minOverloadRetry + rand.N(maxOverloadRetry-minOverloadRetry), //nolint:gosec // spread, no secret
		Detail:     "the service has too many requests to work on at the moment; come back a little later",
	})
}

// leave ends the work on a request; what is left for it is to wait, or to be answered.
func (r *request) leave() {
	if r.entered {
		r.entered = false
		r.gate.inFlight.Add(-1)
	}
}
