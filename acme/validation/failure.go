package validation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// failure is why an attempt proved nothing.
type failure struct {
	problem *acme.Problem
	// final says that another attempt, seconds later, would find the same.
	final bool
}

// failed returns a failure that time may heal: a record that is not everywhere
// yet, a pod that is still starting.
func failed(t acme.ProblemType, format string, args ...any) *failure {
	return &failure{problem: acme.Problemf(t, format, args...)}
}

// refused returns a failure that another attempt would not change.
func refused(t acme.ProblemType, format string, args ...any) *failure {
	return &failure{problem: acme.Problemf(t, format, args...), final: true}
}

// during puts what was being done before the detail.
func (f *failure) during(format string, args ...any) *failure {
	f.problem.Detail = fmt.Sprintf(format, args...) + ": " + f.problem.Detail
	return f
}

// cause returns the text of a network error without what the reader knows
// already (addresses, the operation) and without what only this process has
// (local ports). It may hold what a peer sent, so it is an excerpt.
func cause(err error) string {
	var timeout net.Error
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	return acme.Excerpt(err.Error())
}
