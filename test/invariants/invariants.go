// Package invariants has what must hold of the database of servers, and of what their
// clients were told, whatever happened to them: test/faults asks it of processes, and
// test/e2e of a cluster. It knows the schema acme, and not who brought it about.
package invariants

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Delivery is a certificate that a client was given, at a URL that ends with the ID of
// its order.
type Delivery struct {
	URL string
	DER []byte
}

// IDOf returns the ID at the end of the URL of an account or an order.
func IDOf(url string) (acme.ID, error) { return acme.ParseID(url[strings.LastIndex(url, "/")+1:]) }

// Recorded looks for all certificates that clients have, and their orders, at once:
// there are thousands of them.
func Recorded(ctx context.Context, db *pgx.Conn, deliveries []Delivery) error {
	ids := make([][16]byte, len(deliveries))
	for i, d := range deliveries {
		id, err := IDOf(d.URL)
		if err != nil {
			return fmt.Errorf("%s: %w", d.URL, err)
		}
		ids[i] = id
	}
	rows, err := db.Query(ctx, `
		SELECT o.id, c.der FROM acme.orders o JOIN acme.certificates c ON c.id = o.id
		WHERE o.id = ANY($1) AND o.status = 'valid'`, ids)
	if err != nil {
		return err
	}
	recorded := map[[16]byte][]byte{}
	var id [16]byte
	var der []byte
	if _, err := pgx.ForEachRow(rows, []any{&id, &der}, func() error {
		recorded[id] = bytes.Clone(der)
		return nil
	}); err != nil {
		return err
	}
	for i, d := range deliveries {
		switch der, ok := recorded[ids[i]]; {
		case !ok:
			return fmt.Errorf("that of order %s is not there", acme.ID(ids[i]))
		case !bytes.Equal(der, d.DER):
			return fmt.Errorf("that of order %s is another than the client has", acme.ID(ids[i]))
		}
	}
	return nil
}

// OneCertificateEach asks for orders with more certificates than one, or one that is
// not theirs.
func OneCertificateEach(ctx context.Context, db *pgx.Conn) error {
	return Count(ctx, db, 0, `
		SELECT count(*) FROM acme.certificates c LEFT JOIN acme.orders o ON o.id = c.id
		WHERE o.id IS NULL OR o.status <> 'valid'`)
}

// NothingIsStuck asks for work that nobody does.
func NothingIsStuck(ctx context.Context, db *pgx.Conn) error {
	if err := Count(ctx, db, 0, `SELECT count(*) FROM acme.authorizations WHERE due_at IS NOT NULL`); err != nil {
		return fmt.Errorf("validations: %w", err)
	}
	return Count(ctx, db, 0, `
		SELECT count(*) FROM acme.orders o WHERE o.status = 'pending' AND NOT EXISTS (
			SELECT FROM unnest(o.authorization_ids) AS needed (id) LEFT JOIN acme.authorizations a ON a.id = needed.id
			WHERE a.status IS DISTINCT FROM 'valid')`)
}

// Count returns an error where a query does not count what is wanted.
func Count(ctx context.Context, db *pgx.Conn, want int, query string, args ...any) error {
	var n int
	if err := db.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		return err
	}
	if n != want {
		return fmt.Errorf("there are %d; want %d", n, want)
	}
	return nil
}

// Answer is what a client was told of a signed request.
type Answer struct {
	Route   string
	Nonce   string // empty for a request without
	Status  int    // 0 where there was no answer
	Problem acme.ProblemType
}

// NoncesAreTakenOnce looks for a nonce of which two answers say that it was good.
func NoncesAreTakenOnce(answers []Answer) error {
	taken, refused := map[string]Answer{}, 0
	for _, a := range answers {
		if a.Problem == acme.BadNonce {
			refused++
		}
		if a.Nonce == "" || a.Problem == acme.BadNonce || a.Status == 0 || a.Status >= http.StatusInternalServerError {
			continue
		}
		if other, ok := taken[a.Nonce]; ok {
			return fmt.Errorf("%s: %s was answered with %d, and %s with %d", a.Nonce, other.Route, other.Status, a.Route, a.Status)
		}
		taken[a.Nonce] = a
	}
	if refused == 0 {
		return fmt.Errorf("none was refused of %d: nothing was tried", len(taken))
	}
	return nil
}
