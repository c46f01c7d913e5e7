package acmetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// lockOrders takes the row locks of the orders that match, in their order, and
// then the store's. Orders that were added meanwhile are not locked: no one can
// be finalizing what was not there.
func (m *Memory) lockOrders(matches func(*memoryOrder) bool) (unlock func()) {
	m.mu.Lock()
	var held []*memoryOrder
	for _, o := range m.orders {
		if matches(o) {
			held = append(held, o)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(held, func(a, b *memoryOrder) int { return slices.Compare(a.ID[:], b.ID[:]) })
	for _, o := range held {
		o.finalizing.Lock()
	}
	m.mu.Lock()
	return func() {
		m.mu.Unlock()
		for _, o := range held {
			o.finalizing.Unlock()
		}
	}
}

// invalidate ends an unfinished order.
func (o *memoryOrder) invalidate(problem *acme.Problem) {
	if o.Status == acme.OrderPending || o.Status == acme.OrderReady {
		o.Status, o.Error = acme.OrderInvalid, storedProblem(problem)
	}
}

// CreateOrder adds an order of a valid account with the authorizations made for
// it, paid for by spends; those that it uses again must be the account's, valid and
// not expired.
func (m *Memory) CreateOrder(ctx context.Context, by *acme.Proof, o *acme.Order, authorizations []*acme.Authorization, spends []acme.Spend) ([]acme.Quota, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.accept(by); err != nil {
		return nil, err
	}
	if _, err := m.validAccount(o.AccountID); err != nil {
		return nil, err
	}
	trusted := o.Status == acme.OrderReady
	for _, id := range o.Authorizations {
		made := slices.ContainsFunc(authorizations, func(a *acme.Authorization) bool { return a.ID == id })
		if !made && !m.usable(o.AccountID, id) {
			return nil, &acme.StateError{Object: "authorization", ID: id, State: "not valid"}
		}
		trusted = trusted && made
	}
	if o.Replaces != "" && m.replaced(o.Replaces) {
		return nil, &acme.StateError{Object: "certificate", State: "replaced"}
	}
	if m.orders[o.ID] != nil {
		return nil, fmt.Errorf("order %s is there already", o.ID)
	}
	quotas, err := m.spend(spends, o.AccountID)
	if err != nil {
		return nil, err
	}
	m.orders[o.ID] = &memoryOrder{Order: *keptOrder(o), trusted: trusted}
	for _, a := range authorizations {
		kept := &memoryAuthorization{Authorization: *cloneAuthorization(a)}
		kept.AccountID, kept.OrderID = o.AccountID, o.ID
		kept.ExpiresAt, kept.CreatedAt = stored(a.ExpiresAt), stored(a.CreatedAt)
		for i := range kept.Challenges {
			kept.Challenges[i] = acme.Challenge{Type: kept.Challenges[i].Type, Status: acme.ChallengePending}
		}
		m.authorizations[a.ID] = kept
	}
	return quotas, nil
}

// replaced reports whether an order that is not invalid replaces a certificate; one
// that has expired is made so.
func (m *Memory) replaced(renewal string) bool {
	for _, o := range m.orders {
		if o.Replaces != renewal {
			continue
		}
		if !o.ExpiresAt.After(time.Now()) {
			o.invalidate(acme.OrderExpired())
		}
		if o.Status != acme.OrderInvalid {
			return true
		}
	}
	return false
}

// UnfinishedOrders lists the pending and ready orders of an account, by ID.
func (m *Memory) UnfinishedOrders(ctx context.Context, account, after acme.ID, limit int) ([]acme.ID, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []acme.ID
	for _, o := range m.orders {
		unfinished := (o.Status == acme.OrderPending || o.Status == acme.OrderReady) && o.ExpiresAt.After(time.Now())
		if o.AccountID == account && unfinished && bytes.Compare(o.ID[:], after[:]) > 0 {
			ids = append(ids, o.ID)
		}
	}
	slices.SortFunc(ids, func(a, b acme.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids[:min(len(ids), limit)], nil
}

// usable reports whether an order may use an authorization again.
func (m *Memory) usable(account, id acme.ID) bool {
	a, found := m.authorizations[id]
	return found && a.AccountID == account && a.Status == acme.AuthorizationValid && a.ExpiresAt.After(time.Now()) && a.Proved() != nil
}

// Order reads an order of an account.
func (m *Memory) Order(ctx context.Context, by *acme.Proof, order acme.ID) (*acme.Order, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.accept(by); err != nil {
		return nil, err
	}
	o, found := m.orders[order]
	if !found || o.AccountID != by.Account {
		return nil, notFound("order", order)
	}
	read := cloneOrder(&o.Order)
	read.Validating = o.Status == acme.OrderPending && !slices.ContainsFunc(o.Authorizations, func(id acme.ID) bool {
		a := m.authorizations[id]
		return a == nil || (a.Status != acme.AuthorizationValid && a.dueAt.IsZero())
	})
	return read, nil
}

// FinalizeOrder takes a ready order to valid with the certificate that issue
// returns. The order is held from the check to the end; the store is not.
func (m *Memory) FinalizeOrder(ctx context.Context, by *acme.Proof, f acme.Finalization, issue acme.IssueFunc) (*acme.Order, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	refused := m.accept(by)
	o, found := m.orders[f.OrderID]
	m.mu.Unlock()
	switch {
	case refused != nil:
		return nil, refused
	case !found || o.AccountID != by.Account:
		return nil, notFound("order", f.OrderID)
	}
	o.finalizing.Lock()
	defer o.finalizing.Unlock()
	current, err := m.finalizable(o, f)
	if err != nil || current.Status == acme.OrderValid {
		return current, err
	}
	c, err := issue(ctx, current)
	if err != nil {
		return nil, err
	}
	return m.complete(o, c)
}

// finalizable returns an order that may be finalized or is valid, or why neither.
func (m *Memory) finalizable(o *memoryOrder, f acme.Finalization) (*acme.Order, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.Status == acme.OrderValid {
		return cloneOrder(&o.Order), nil
	}
	if o.Status != acme.OrderReady {
		return nil, &acme.StateError{Object: "order", ID: o.ID, State: string(o.Status)}
	}
	if !o.ExpiresAt.After(time.Now()) {
		return nil, &acme.StateError{Object: "order", ID: o.ID, State: "expired"}
	}
	if f.Proved && o.trusted {
		return nil, &acme.StateError{Object: "order", ID: o.ID, State: acme.OrderUnproved}
	}
	if _, err := m.validAccount(o.AccountID); err != nil {
		return nil, err
	}
	if m.holderOf(f.Key) != nil {
		return nil, fmt.Errorf("finalize order %s: %w", o.ID, acme.ErrKeyInUse)
	}
	return cloneOrder(&o.Order), nil
}

// errSerialUsed: the issuer's random numbers are not.
var errSerialUsed = errors.New("a certificate has this serial already")

// complete records the certificate of an order that is held.
func (m *Memory) complete(o *memoryOrder, c *acme.Certificate) (*acme.Order, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.issuers[c.IssuerID] == nil {
		return nil, fmt.Errorf("finalize order: issuer %x: the certificate's issuer is not registered", c.IssuerID)
	}
	for _, other := range m.certificates {
		if other.Serial == c.Serial {
			return nil, fmt.Errorf("finalize order: %s: %w", c.Serial, errSerialUsed)
		}
	}
	kept := *c
	kept.ID, kept.AccountID, kept.DER = o.ID, o.AccountID, slices.Clone(c.DER)
	kept.NotBefore, kept.NotAfter, kept.IssuedAt = stored(c.NotBefore), stored(c.NotAfter), stored(c.IssuedAt)
	if kept.IssuedAt.IsZero() {
		kept.IssuedAt = stored(time.Now())
	}
	kept.RevokedAt, kept.RevocationReason = time.Time{}, 0
	m.certificates[kept.ID] = &kept
	m.newest[memoryNames{o.AccountID, acme.NameSetOf(o.Identifiers)}] = &kept
	o.Status = acme.OrderValid
	return cloneOrder(&o.Order), nil
}

// keptOrder returns an order as a database would keep it.
func keptOrder(o *acme.Order) *acme.Order {
	kept := cloneOrder(o)
	kept.NotBefore, kept.NotAfter = stored(o.NotBefore), stored(o.NotAfter)
	kept.ExpiresAt, kept.CreatedAt = stored(o.ExpiresAt), stored(o.CreatedAt)
	kept.Error = storedProblem(o.Error)
	return kept
}

// cloneOrder copies an order; problems are never changed in place.
func cloneOrder(o *acme.Order) *acme.Order {
	clone := *o
	clone.Identifiers = slices.Clone(o.Identifiers)
	clone.Authorizations = slices.Clone(o.Authorizations)
	return &clone
}
