package postgres_test

import (
	"errors"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

func TestListsHaveAllInTheirOrderHoweverManyPages(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	for _, have := range []int{0, 1000, 1001, 2500} { // a page has a thousand
		d.exec(`
			INSERT INTO certificates (id, account_id, serial, issuer_id, der, not_before, not_after, issued_at)
			SELECT gen_random_uuid(), gen_random_uuid(), substr(sha256(n::text::bytea), 1, 16), substr(sha256(''), 1, 16), '', now(), now(), now()
			FROM generate_series((SELECT count(*) FROM certificates) + 1, $1) AS n`, have)
		seen, last := 0, ""
		for c, err := range d.store.Certificates(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if c.ID.String() <= last {
				t.Fatalf("%s comes after %s", c.ID, last)
			}
			seen, last = seen+1, c.ID.String()
		}
		if seen != have {
			t.Errorf("of %d, %d are listed", have, seen)
		}
	}
	for _, err := range d.store.Certificates(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		break // a reader may have had enough
	}
}

func TestAListThatCannotBeReadEndsWithAnError(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	d.exec(`DROP TABLE accounts`)
	var got []error
	for _, err := range d.store.Accounts(t.Context()) {
		got = append(got, err)
	}
	if len(got) != 1 || got[0] == nil {
		t.Errorf("errors %v; want one", got)
	}
}

func TestAnAccountThatTheAuthorityEndsIsRevokedWithItsOrders(t *testing.T) {
	t.Parallel()
	s := postgrestest.New(t)
	account, _, _, err := s.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	o, made := acmetest.NewReadyOrder(account.ID, "a.test")
	if err := acmetest.CreateOrder(t.Context(), s, o, made); err != nil {
		t.Fatal(err)
	}
	if got, err := s.RevokeAccount(t.Context(), account.ID); err != nil || got.Status != acme.AccountRevoked {
		t.Errorf("account %+v, error %v; want it revoked", got, err)
	}
	if left, err := s.UnfinishedOrders(t.Context(), account.ID, acme.ID{}, 10); err != nil || len(left) > 0 {
		t.Errorf("unfinished orders %v, error %v; want none", left, err)
	}
	var state *acme.StateError
	if _, err := s.DeactivateAccount(t.Context(), account.ID); !errors.As(err, &state) || state.State != string(acme.AccountRevoked) {
		t.Errorf("its owner ends it: %v; want that it is revoked", err)
	}
	if _, err := s.RevokeAccount(t.Context(), acme.NewID()); !errors.Is(err, acme.ErrNotFound) {
		t.Errorf("an account that is not there: %v", err)
	}
}
