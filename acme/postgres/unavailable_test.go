package postgres_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
)

// ownServer starts a server that the test may mistreat.
func ownServer(t *testing.T) *postgrestest.Server {
	t.Helper()
	server, err := postgrestest.Start(t.Context(), postgrestest.Options{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func TestACrashOfTheDatabaseIsUnavailableAndThenOver(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	store := postgrestest.Open(t, postgres.Config{URL: server.URL(t)})
	account, _, _, err := store.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	o, made := acmetest.NewReadyOrder(account.ID, "a.test")
	if err := acmetest.CreateOrder(t.Context(), store, o, made); err != nil {
		t.Fatal(err)
	}
	issuer, nonce := acmetest.NewIssuer(t, store), acmetest.NewNonce(t, store)

	// The server dies while the certificate is being made.
	f := acme.Finalization{OrderID: o.ID}
	_, err = store.FinalizeOrder(t.Context(), acmetest.By(account.ID), f, func(context.Context, *acme.Order) (*acme.Certificate, error) {
		return acmetest.NewCertificate(issuer), server.Kill()
	})
	wantUnavailable(t, "finalize", err)
	wantUnavailable(t, "ping", store.Ping(t.Context()))
	_, _, _, err = store.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	wantUnavailable(t, "create account", err)
	_, err = store.NonceKeys(t.Context())
	wantUnavailable(t, "nonce keys", err)

	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.RedeemNonce(t.Context(), nonce); !errors.Is(err, acme.ErrNonceKeyGone) {
		t.Errorf("a nonce from before the crash: error %v; want that its key is gone", err)
	}
	valid, err := store.FinalizeOrder(t.Context(), acmetest.By(account.ID), f, func(context.Context, *acme.Order) (*acme.Certificate, error) {
		return acmetest.NewCertificate(issuer), nil
	})
	if err != nil || valid.Status != acme.OrderValid {
		t.Errorf("order %v, error %v; want it valid", valid, err)
	}
}

func TestADatabaseThatDoesNotAnswerIsUnavailableInTime(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	store := postgrestest.Open(t, postgres.Config{URL: server.URL(t)})
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := store.Ping(ctx)
	wantUnavailable(t, "ping", err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v; want that it is the caller's deadline too", err)
	}
	if err := server.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("after the pause: %v", err)
	}
}

func TestNobodyWaitsForADatabaseThatHangs(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	const statement, acquire, connections = 300 * time.Millisecond, 200 * time.Millisecond, 2
	store := postgrestest.Open(t, postgres.Config{
		URL: server.URL(t), StatementTimeout: statement, AcquireTimeout: acquire, MaxConnections: connections,
	})
	awaitConnection(t, store)
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Those that have a connection are cut off after a second more than a statement
	// may take; those that want one are sent away sooner.
	const callers, most = 20, acquire + statement + 3*time.Second
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			began := time.Now()
			wantUnavailable(t, "nonce keys", func() error { _, err := store.NonceKeys(t.Context()); return err }())
			if took := time.Since(began); took > most {
				t.Errorf("one waited for %s; want at most %s", took, most)
			}
		})
	}
	all.Wait()
	for began := time.Now(); store.Ping(t.Context()) == nil; { // its last word is good for two seconds
		if time.Since(began) > most {
			t.Fatal("a database that hangs is taken for a busy one")
		}
	}
	if err := server.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	awaitConnection(t, store)
}

func TestACrowdIsSentAwayAndTheReplicaStaysReady(t *testing.T) {
	t.Parallel()
	store := postgrestest.Open(t, postgres.Config{
		URL: postgrestest.URL(t), AcquireTimeout: 50 * time.Millisecond, MaxConnections: 1, // enough for a busy machine to serve some
	})
	awaitConnection(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var sent atomic.Int64
	for range 300 {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := store.NonceKeys(t.Context()); err != nil {
					wantUnavailable(t, "nonce keys", err)
					sent.Add(1)
				}
			}
		})
	}
	for range 50 {
		if err := store.Ping(t.Context()); err != nil {
			t.Errorf("ping in a crowd: %v", err)
		}
	}
	cancel()
	all.Wait()
	if sent.Load() == 0 {
		t.Error("nobody was sent away: there was no crowd")
	}
}

func TestWhatTheCallerCancelledIsNotUnavailable(t *testing.T) {
	t.Parallel()
	store := postgrestest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := store.Ping(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, acme.ErrUnavailable) {
		t.Errorf("error %v; want that it was cancelled, and nothing else", err)
	}
}

func TestAServerThatHangsDoesNotKeepAnOrderLocked(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	other := postgrestest.Open(t, postgres.Config{URL: url}) // another replica
	o, issuer := readyOrder(t, other), acmetest.NewIssuer(t, other)
	store, f := postgrestest.Open(t, postgres.Config{URL: url, StatementTimeout: 300 * time.Millisecond}), acme.Finalization{OrderID: o.ID}
	issue := func(context.Context, *acme.Order) (*acme.Certificate, error) {
		return acmetest.NewCertificate(issuer), nil
	}
	_, err := store.FinalizeOrder(t.Context(), acmetest.By(o.AccountID), f, func(ctx context.Context, _ *acme.Order) (*acme.Certificate, error) {
		// The lock is given up under this one, which hangs until another has issued.
		for {
			_, err := store.FinalizeOrder(ctx, acmetest.By(o.AccountID), f, issue)
			if err == nil {
				return acmetest.NewCertificate(issuer), nil
			}
			wantUnavailable(t, "finalize while it is locked", err)
		}
	})
	wantUnavailable(t, "the one that hung", err)
}

// Of an order that it made itself a server has no lock while it signs: what hangs is
// waited for as long as the database might have been, and then finds that another did it.
func TestASignerThatHangsKeepsNobodyFromAnOrder(t *testing.T) {
	t.Parallel()
	store := postgrestest.Open(t, postgres.Config{URL: postgrestest.URL(t), AcquireTimeout: time.Minute})
	o := readyOrder(t, store)
	issuer, f := acmetest.NewIssuer(t, store), acme.Finalization{OrderID: o.ID}
	issue := func(context.Context, *acme.Order) (*acme.Certificate, error) {
		return acmetest.NewCertificate(issuer), nil
	}
	first, err := store.FinalizeOrder(t.Context(), acmetest.By(o.AccountID), f, func(ctx context.Context, _ *acme.Order) (*acme.Certificate, error) {
		second, err := store.FinalizeOrder(ctx, acmetest.By(o.AccountID), f, issue)
		if err != nil || second.Status != acme.OrderValid {
			t.Errorf("while another hangs: order %v, error %v; want a valid one", second, err)
		}
		return acmetest.NewCertificate(issuer), nil
	})
	if err != nil || first.Status != acme.OrderValid {
		t.Errorf("the one that hung: order %v, error %v; want what the other made", first, err)
	}
}

// readyOrder makes an account with a ready order.
func readyOrder(t *testing.T, store *postgres.Store) *acme.Order {
	t.Helper()
	account, _, _, err := store.CreateAccount(t.Context(), acmetest.NewAccount(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	o, made := acmetest.NewReadyOrder(account.ID, "a.test")
	if err := acmetest.CreateOrder(t.Context(), store, o, made); err != nil {
		t.Fatal(err)
	}
	return o
}

// wantUnavailable checks that err says so.
func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, acme.ErrUnavailable) {
		t.Errorf("%s: error %v; want that it is unavailable", what, err)
	}
}

// awaitConnection waits until a store that is in a hurry has a connection, which on a
// machine with other things to do takes longer than it waits.
func awaitConnection(t *testing.T, store *postgres.Store) {
	t.Helper()
	for began := time.Now(); ; {
		err := store.Ping(t.Context())
		if err == nil {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatal(err)
		}
	}
}
