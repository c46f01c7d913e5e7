package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// unavailableCodes lists the beginnings of the SQLSTATEs (Postgres manual,
// appendix A) that say nothing of the request and may pass by themselves.
var unavailableCodes = []string{
	"08",    // connection exception
	"25006", // read-only transaction: a standby, or one that was a primary
	"25P03", // idle in transaction: the database stood still between two statements
	"28",    // authentication: a password is being rotated
	"3D000", // no such database: it is being restored
	"40",    // rolled back: deadlock, serialization
	"53",    // insufficient resources: disk full, out of memory, too many connections
	"55P03", // lock not available
	"57",    // operator intervention: statement timeout, shutdown, crash, starting up
	"58",    // system error: input and output
}

// storeError gives an error of pgx its meaning: [acme.ErrUnavailable] where the
// database could not be asked, and what it is otherwise. What the caller itself
// cancelled stays that. A deadline that passed is both: the database was too
// slow for it.
func storeError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case unavailable(err):
		return fmt.Errorf("%s: %w: %w", what, acme.ErrUnavailable, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// unavailable reports whether an error says that the database could not be asked.
func unavailable(err error) bool {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		for _, code := range unavailableCodes {
			if strings.HasPrefix(answer.Code, code) {
				return true
			}
		}
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, puddle.ErrClosedPool) || errors.Is(err, pgx.ErrTxClosed)
}

// notFound returns [acme.ErrNotFound] with what was asked for.
func notFound(object string, id acme.ID) error {
	return fmt.Errorf("%s %s: %w", object, id, acme.ErrNotFound)
}
