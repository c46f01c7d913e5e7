package acmetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// CreateAccount adds a, paid for by spends, or returns the account that has its
// key already.
func (m *Memory) CreateAccount(ctx context.Context, a *acme.Account, spends []acme.Spend) (account *acme.Account, created bool, quotas []acme.Quota, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, nil, err
	}
	thumbprint, err := acme.ThumbprintOf(a.Key)
	if err != nil {
		return nil, false, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if holder := m.holderOf(thumbprint); holder != nil {
		return cloneAccount(holder), false, nil, nil
	}
	if quotas, err = m.spend(spends, a.ID); err != nil {
		return nil, false, nil, err
	}
	kept := cloneAccount(a)
	kept.CreatedAt = stored(a.CreatedAt)
	m.accounts[a.ID] = kept
	return cloneAccount(kept), true, quotas, nil
}

// holderOf returns the account that has a key, or nil.
func (m *Memory) holderOf(key acme.Thumbprint) *acme.Account {
	for _, a := range m.accounts {
		if t, err := acme.ThumbprintOf(a.Key); err == nil && t == key {
			return a
		}
	}
	return nil
}

// AccountByKey reads the account that has a key, whatever its state.
func (m *Memory) AccountByKey(ctx context.Context, key acme.Thumbprint) (*acme.Account, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.holderOf(key)
	if a == nil {
		return nil, fmt.Errorf("account with key %s: %w", key, acme.ErrNotFound)
	}
	return cloneAccount(a), nil
}

// UpdateContact replaces the contacts of a valid account.
func (m *Memory) UpdateContact(ctx context.Context, account acme.ID, contact []string) (*acme.Account, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.validAccount(account)
	if err != nil {
		return nil, err
	}
	a.Contact = slices.Clone(contact)
	return cloneAccount(a), nil
}

// DeactivateAccount ends a valid account and makes its unfinished orders invalid.
func (m *Memory) DeactivateAccount(ctx context.Context, account acme.ID) (*acme.Account, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	unlock := m.lockOrders(func(o *memoryOrder) bool { return o.AccountID == account })
	defer unlock()
	a, err := m.validAccount(account)
	if err != nil {
		return nil, err
	}
	a.Status = acme.AccountDeactivated
	problem := acme.Problemf(acme.Unauthorized, "the account was deactivated")
	for _, o := range m.orders {
		if o.AccountID == account {
			o.invalidate(problem)
		}
	}
	return cloneAccount(a), nil
}

// validAccount returns a valid account, or why there is none.
func (m *Memory) validAccount(id acme.ID) (*acme.Account, error) {
	a, found := m.accounts[id]
	switch {
	case !found:
		return nil, notFound("account", id)
	case a.Status != acme.AccountValid:
		return nil, &acme.StateError{Object: "account", ID: id, State: string(a.Status)}
	}
	return a, nil
}

// cloneAccount copies an account; keys are never changed in place.
func cloneAccount(a *acme.Account) *acme.Account {
	clone := *a
	clone.Contact = append([]string{}, a.Contact...)
	return &clone
}
