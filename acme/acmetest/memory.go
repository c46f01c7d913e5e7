package acmetest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// The ages at which the newest nonce key gets a successor and a key dies, as in
// acme/postgres.
const (
	nonceKeyRenewal  = 24 * time.Hour
	nonceKeyLifetime = 3 * nonceKeyRenewal
)

// Memory is a [Store] in memory: the twin of acme/postgres for `acmeserver dev` and
// for tests of what is above the store. It does the same and forgets everything
// with its process. It is safe for use by several goroutines.
//
// One lock is held for each method, so each happens whole; [Memory.FinalizeOrder]
// alone lets go of it while the certificate is made, and holds the order instead.
type Memory struct {
	mu             sync.Mutex
	accounts       map[acme.ID]*acme.Account
	formerKeys     map[acme.ID][]acme.Thumbprint // of an account, the last first
	orders         map[acme.ID]*memoryOrder
	authorizations map[acme.ID]*memoryAuthorization
	certificates   map[acme.ID]*acme.Certificate
	newest         map[memoryNames]*acme.Certificate
	issuers        map[acme.IssuerID]*acme.Issuer
	crls           map[acme.IssuerID]acme.CRL
	nonces         map[acme.Nonce]struct{}
	limits         map[memoryLimitKey]memoryLimit
	policy         memoryPolicy
	keys           []memoryKey // the newest first
}

// memoryOrder is an order with its row lock.
type memoryOrder struct {
	acme.Order
	trusted    bool
	finalizing sync.Mutex // taken before Memory.mu
}

// memoryAuthorization is an authorization with its place in the queue.
type memoryAuthorization struct {
	acme.Authorization
	attempted acme.ChallengeType // empty before the first attempt
	lease     acme.ID
	dueAt     time.Time // zero where it is not queued
	attempts  int
	tried     bool // by Prove
}

// memoryNames is what an account may have certificates for.
type memoryNames struct {
	account acme.ID
	names   acme.NameSet
}

// memoryKey is a nonce key with its age.
type memoryKey struct {
	acme.NonceKey
	createdAt time.Time
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		accounts:       map[acme.ID]*acme.Account{},
		formerKeys:     map[acme.ID][]acme.Thumbprint{},
		orders:         map[acme.ID]*memoryOrder{},
		authorizations: map[acme.ID]*memoryAuthorization{},
		certificates:   map[acme.ID]*acme.Certificate{},
		newest:         map[memoryNames]*acme.Certificate{},
		crls:           map[acme.IssuerID]acme.CRL{},
		issuers:        map[acme.IssuerID]*acme.Issuer{},
		nonces:         map[acme.Nonce]struct{}{},
		limits:         map[memoryLimitKey]memoryLimit{},
		policy:         memoryPolicy{replicas: map[string]acme.Replica{}},
	}
}

// Ping succeeds while ctx lasts.
func (m *Memory) Ping(ctx context.Context) error { return ctx.Err() }

// RedeemNonce takes a nonce, once.
func (m *Memory) RedeemNonce(ctx context.Context, n acme.Nonce) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.redeem(n)
}

// redeem takes a nonce. What has expired is swept here: there is no other place.
func (m *Memory) redeem(n acme.Nonce) error {
	if !slices.ContainsFunc(m.keys, func(k memoryKey) bool { return k.ID == n.KeyID }) {
		return acme.ErrNonceKeyGone
	}
	now := time.Now()
	n = acme.Nonce{ID: n.ID, ExpiresAt: n.ExpiresAt.UTC()}
	if _, used := m.nonces[n]; used || !n.ExpiresAt.After(now) {
		return acme.ErrNonceUsed
	}
	const sweepAt = 10_000
	if len(m.nonces) >= sweepAt {
		maps.DeleteFunc(m.nonces, func(old acme.Nonce, _ struct{}) bool { return !old.ExpiresAt.After(now) })
	}
	m.nonces[n] = struct{}{}
	return nil
}

// accept takes the nonce of a proof, and makes sure of its account.
func (m *Memory) accept(by *acme.Proof) error {
	if by.Redeemed {
		return nil
	}
	a, found := m.accounts[by.Account]
	if !found || a.Status != acme.AccountValid {
		return acme.ErrAccountChanged
	}
	if key, err := acme.ThumbprintOf(a.Key); err != nil || key != by.Key {
		return acme.ErrAccountChanged
	}
	if err := m.redeem(by.Nonce); err != nil {
		return err
	}
	by.Redeemed = true
	return nil
}

// Authenticate redeems a nonce and reads an account.
func (m *Memory) Authenticate(ctx context.Context, n acme.Nonce, account acme.ID) (*acme.Account, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.redeem(n); err != nil {
		return nil, err
	}
	a, found := m.accounts[account]
	if !found {
		return nil, notFound("account", account)
	}
	return cloneAccount(a), nil
}

// NonceKeys returns the live keys, the newest first, and makes one where there is
// none or the newest is a day old.
func (m *Memory) NonceKeys(ctx context.Context) ([]acme.NonceKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.keys = slices.DeleteFunc(m.keys, func(k memoryKey) bool { return now.Sub(k.createdAt) >= nonceKeyLifetime })
	if len(m.keys) == 0 || now.Sub(m.keys[0].createdAt) >= nonceKeyRenewal {
		var random [36]byte
		_, _ = rand.Read(random[:]) // never fails (crypto/rand)
		key := acme.NonceKey{ID: binary.BigEndian.Uint32(random[:]), Secret: [32]byte(random[4:])}
		m.keys = slices.Insert(m.keys, 0, memoryKey{key, now})
	}
	keys := make([]acme.NonceKey, len(m.keys))
	for i, k := range m.keys {
		keys[i] = k.NonceKey
	}
	return keys, nil
}

// LoseNonceKeys forgets all nonces and their keys, as a database does in a crash.
func (m *Memory) LoseNonceKeys(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = nil
	clear(m.nonces)
	return nil
}

// Certificate reads a certificate of an account.
func (m *Memory) Certificate(ctx context.Context, by *acme.Proof, certificate acme.ID) (*acme.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.accept(by); err != nil {
		return nil, err
	}
	c, found := m.certificates[certificate]
	if !found || c.AccountID != by.Account {
		return nil, notFound("certificate", certificate)
	}
	clone := *c
	clone.DER = slices.Clone(c.DER)
	return &clone, nil
}

// RegisterIssuer adds an issuer, or replaces its chains.
func (m *Memory) RegisterIssuer(ctx context.Context, issuer *acme.Issuer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.issuers[issuer.ID] = cloneIssuer(issuer)
	return nil
}

// Issuer returns an issuer with its chains.
func (m *Memory) Issuer(ctx context.Context, id acme.IssuerID) (*acme.Issuer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	issuer, found := m.issuers[id]
	if !found {
		return nil, fmt.Errorf("issuer %x: %w", id, acme.ErrNotFound)
	}
	return cloneIssuer(issuer), nil
}

// cloneIssuer copies an issuer.
func cloneIssuer(issuer *acme.Issuer) *acme.Issuer {
	clone := &acme.Issuer{ID: issuer.ID}
	for _, chain := range issuer.Chains {
		var copied [][]byte
		for _, der := range chain {
			copied = append(copied, slices.Clone(der))
		}
		clone.Chains = append(clone.Chains, copied)
	}
	return clone
}

// stored returns a time as a database keeps it: in microseconds, in UTC.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Truncate(time.Microsecond).UTC()
}

// storedProblem returns a problem as a database keeps it: in its wire form.
func storedProblem(p *acme.Problem) *acme.Problem {
	if p == nil {
		return nil
	}
	var kept acme.Problem
	text, err := json.Marshal(p)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil { // a Problem has nothing that JSON cannot say
		panic(err)
	}
	return &kept
}

// notFound returns [acme.ErrNotFound] with what was asked for.
func notFound(object string, id acme.ID) error {
	return fmt.Errorf("%s %s: %w", object, id, acme.ErrNotFound)
}
