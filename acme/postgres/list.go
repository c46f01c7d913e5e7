package postgres

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// listPage is how many rows are read at a time where all are listed: a megabyte of
// certificates. Each page is a statement of its own, so that no list keeps a
// transaction open, however long it is; what is added meanwhile is on it, or not.
const listPage = 1000

// list yields the rows of a table by their ID: those that selectRows begins to select.
// After an error there are no more.
func list[T any](ctx context.Context, s *Store, what, selectRows string, scan func(pgx.Row, *T) error, idOf func(*T) acme.ID) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for after, more := (acme.ID{}), true; more; {
			page, err := pageOf(ctx, s, what, selectRows, after, scan)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, row := range page {
				if after = idOf(row); !yield(row, nil) {
					return
				}
			}
			more = len(page) == listPage
		}
	}
}

// pageOf reads the rows after an ID, a page at most.
func pageOf[T any](ctx context.Context, s *Store, what, selectRows string, after acme.ID, scan func(pgx.Row, *T) error) (page []*T, err error) {
	b := &pgx.Batch{}
	b.Queue(selectRows+`WHERE id > $1 ORDER BY id LIMIT $2`, pgtype.UUID{Bytes: after, Valid: true}, listPage).
		Query(func(rows pgx.Rows) (err error) {
			page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*T, error) {
				object := new(T)
				return object, scan(row, object)
			})
			return err
		})
	return page, s.send(ctx, what, b)
}
