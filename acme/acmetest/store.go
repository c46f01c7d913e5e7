package acmetest

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/nonce"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
	"github.com/acme-ca/acme-ca-operator/acme/validation"
)

// Store is all that is asked of a store, by everyone who asks.
type Store interface {
	server.Store
	validation.Queue
	nonce.KeySource
	ratelimit.Source
	// RegisterIssuer adds an issuer, or replaces its chains: a server calls it at
	// its start, before it issues.
	RegisterIssuer(ctx context.Context, issuer *acme.Issuer) error
	// Unpause forgets the failures in a row of an account and an identifier.
	Unpause(ctx context.Context, subject string) error
	// SetRateLimitPolicy puts a policy in force for all replicas and returns its
	// generation, which counts the changes from a number that no store has had before. RateLimitPolicy returns it.
	SetRateLimitPolicy(ctx context.Context, p acme.RateLimitPolicy) (generation int64, err error)
	RateLimitPolicy(ctx context.Context) (acme.RateLimitPolicy, error)
	// Replicas lists the replicas that reported of late, by name.
	Replicas(ctx context.Context) ([]acme.Replica, error)
	// Throttled lists subjects that have used up a limit of a policy, those that wait
	// longest first, up to a number of them.
	Throttled(ctx context.Context, p *acme.RateLimitPolicy, atMost int) ([]acme.Throttle, error)
}

// storeTest is one sentence of the contract of a store.
type storeTest struct {
	says string
	test func(t *testing.T, s Store)
}

// TestStore is the contract of a store as tests. Each has a new, empty store, and
// they run in parallel. It sleeps nowhere: what must have run out is made so that
// it already has.
func TestStore(t *testing.T, newStore func(t *testing.T) Store) {
	t.Helper()
	for _, group := range []struct {
		name  string
		tests []storeTest
	}{
		{"accounts", accountTests},
		{"nonces", nonceTests},
		{"proofs", proofTests},
		{"orders", orderTests},
		{"finalization", finalizationTests},
		{"authorizations", authorizationTests},
		{"validations", validationTests},
		{"first attempts", proveTests},
		{"leases", leaseTests},
		{"issuers", issuerTests},
		{"keys", keyChangeTests},
		{"revocations", revocationTests},
		{"reuse", reuseTests},
		{"limits", limitTests},
		{"throttles", throttleTests},
		{"renewals", renewalTests},
		{"policies", policyTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range group.tests {
				t.Run(test.says, func(t *testing.T) {
					t.Parallel()
					test.test(t, newStore(t))
				})
			}
		})
	}
}

// NewAccount returns a valid account with a new key, which is in no store yet.
func NewAccount(t testing.TB) *acme.Account {
	t.Helper()
	return &acme.Account{
		ID: acme.NewID(), Status: acme.AccountValid, Contact: []string{"mailto:ops@example.test"},
		TermsOfServiceAgreed: true, Key: &jose.JSONWebKey{Key: NewKey(t).Public()}, CreatedAt: now(),
	}
}

// NewOrder returns an order for names with a pending authorization for each, both
// good for an hour, which are in no store yet.
func NewOrder(account acme.ID, names ...string) (*acme.Order, []*acme.Authorization) {
	o := &acme.Order{
		ID: acme.NewID(), AccountID: account, Status: acme.OrderPending, Profile: "default",
		ExpiresAt: now().Add(time.Hour), CreatedAt: now(),
	}
	var authorizations []*acme.Authorization
	for _, name := range names {
		id := acme.Identifier{Type: acme.DNS, Value: name}
		a := &acme.Authorization{
			ID: acme.NewID(), AccountID: account, OrderID: o.ID, Identifier: id.Base(), Wildcard: id.IsWildcard(),
			Status: acme.AuthorizationPending, Token: acme.NewToken(), ExpiresAt: o.ExpiresAt, CreatedAt: o.CreatedAt,
		}
		for _, t := range acme.ChallengeTypes {
			if t.Proves(id) {
				a.Challenges = append(a.Challenges, acme.Challenge{Type: t, Status: acme.ChallengePending})
			}
		}
		o.Identifiers = append(o.Identifiers, id)
		o.Authorizations = append(o.Authorizations, a.ID)
		authorizations = append(authorizations, a)
	}
	return o, authorizations
}

// CreateOrder adds an order that nothing is owed for.
func CreateOrder(ctx context.Context, s Store, o *acme.Order, authorizations []*acme.Authorization) error {
	_, err := s.CreateOrder(ctx, By(o.AccountID), o, authorizations, nil)
	return err
}

// By returns a proof of an account that was made sure of before.
func By(account acme.ID) *acme.Proof { return &acme.Proof{Account: account, Redeemed: true} }

// NewReadyOrder is [NewOrder] of a server that trusts the account.
func NewReadyOrder(account acme.ID, names ...string) (*acme.Order, []*acme.Authorization) {
	o, authorizations := NewOrder(account, names...)
	o.Status = acme.OrderReady
	for _, a := range authorizations {
		a.Status = acme.AuthorizationValid
	}
	return o, authorizations
}

// NewIssuer registers an issuer, of random octets.
func NewIssuer(t testing.TB, s Store) acme.IssuerID {
	t.Helper()
	var id acme.IssuerID
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	issuer := &acme.Issuer{ID: id, Chains: [][][]byte{{{1, 2, 3}, {4, 5}}, {{6}}}}
	if err := s.RegisterIssuer(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
	return id
}

// NewCertificate returns a certificate, of random octets.
func NewCertificate(issuer acme.IssuerID) *acme.Certificate {
	c := &acme.Certificate{
		IssuerID: issuer, DER: make([]byte, 600),
		NotBefore: now(), NotAfter: now().Add(time.Hour), IssuedAt: now(),
	}
	_, _ = rand.Read(c.Serial[:]) // never fails (crypto/rand)
	_, _ = rand.Read(c.DER)
	return c
}

// NewNonce returns a nonce of the store's newest key.
func NewNonce(t testing.TB, s Store) acme.Nonce {
	t.Helper()
	keys, err := s.NonceKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := acme.Nonce{KeyID: keys[0].ID, ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second)}
	_, _ = rand.Read(n.ID[:]) // never fails (crypto/rand)
	return n
}

// now is a time that a store gives back as it was.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// addAccount adds a new account.
func addAccount(t testing.TB, s Store) *acme.Account {
	t.Helper()
	a, created, _, err := s.CreateAccount(t.Context(), NewAccount(t), nil)
	if err != nil || !created {
		t.Fatalf("CreateAccount: created %t, error %v", created, err)
	}
	return a
}

// add adds an order with its authorizations.
func add(t testing.TB, s Store, o *acme.Order, authorizations []*acme.Authorization) *acme.Order {
	t.Helper()
	if err := CreateOrder(t.Context(), s, o, authorizations); err != nil {
		t.Fatalf("CreateOrder: %v", err)
	}
	return o
}

// mustOrder reads an order.
func mustOrder(t testing.TB, s Store, o *acme.Order) *acme.Order {
	t.Helper()
	found, err := s.Order(t.Context(), By(o.AccountID), o.ID)
	if err != nil {
		t.Fatalf("Order: %v", err)
	}
	return found
}

// mustAuthorization reads an authorization.
func mustAuthorization(t testing.TB, s Store, account, id acme.ID) *acme.Authorization {
	t.Helper()
	found, err := s.Authorization(t.Context(), By(account), id)
	if err != nil {
		t.Fatalf("Authorization: %v", err)
	}
	return found
}

// wantError checks that err is the one wanted.
func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v; want %v", err, want)
	}
}

// wantState checks that err says which object was in which state.
func wantState(t testing.TB, err error, object, state string) {
	t.Helper()
	var got *acme.StateError
	if !errors.As(err, &got) || got.Object != object || got.State != state {
		t.Errorf("error %v; want that the %s is %s", err, object, state)
	}
}

// atOnce runs f n times at once and waits for all.
func atOnce(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}
