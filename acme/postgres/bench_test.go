package postgres_test

import (
	"context"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

// BenchmarkIssuance is what the issuance of one certificate by a trusted account
// asks of the store, on a server whose commits wait for the disk: newOrder,
// finalize, and the download, each authenticated.
func BenchmarkIssuance(b *testing.B) {
	server, err := postgrestest.Start(b.Context(), postgrestest.Options{Fsync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Stop() })
	store := postgrestest.Open(b, postgres.Config{URL: server.URL(b)})
	account, _, _, err := store.CreateAccount(b.Context(), acmetest.NewAccount(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	issuer, nonce := acmetest.NewIssuer(b, store), acmetest.NewNonce(b, store)
	authenticate := func() error {
		n := nonce
		n.ID = acme.NewID()
		_, err := store.Authenticate(b.Context(), n, account.ID)
		return err
	}
	issue := func(context.Context, *acme.Order) (*acme.Certificate, error) {
		return acmetest.NewCertificate(issuer), nil
	}
	newOrder := func() (*acme.Order, error) {
		if err := authenticate(); err != nil {
			return nil, err
		}
		o, made := acmetest.NewReadyOrder(account.ID, "a.test")
		return o, acmetest.CreateOrder(b.Context(), store, o, made)
	}
	finalize := func(o *acme.Order) (*acme.Order, error) {
		if err := authenticate(); err != nil {
			return nil, err
		}
		return store.FinalizeOrder(b.Context(), acmetest.By(account.ID), acme.Finalization{OrderID: o.ID}, issue)
	}
	download := func(o *acme.Order) error {
		if err := authenticate(); err != nil {
			return err
		}
		_, err := store.Certificate(b.Context(), acmetest.By(account.ID), o.ID)
		return err
	}
	issuance := func() error {
		o, err := newOrder()
		if err != nil {
			return err
		}
		if o, err = finalize(o); err != nil {
			return err
		}
		return download(o)
	}
	b.Run("one at a time", func(b *testing.B) {
		for b.Loop() {
			if err := issuance(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("eight at once", func(b *testing.B) {
		b.SetParallelism(4) // of two cores
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := issuance(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("authenticate", func(b *testing.B) {
		for b.Loop() {
			if err := authenticate(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
