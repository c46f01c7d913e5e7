package acmetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Authorization reads an authorization of an account, as it was recorded.
func (m *Memory) Authorization(ctx context.Context, by *acme.Proof, authorization acme.ID) (*acme.Authorization, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.accept(by); err != nil {
		return nil, err
	}
	a, err := m.authorizationOf(by.Account, authorization)
	if err != nil {
		return nil, err
	}
	return cloneAuthorization(&a.Authorization), nil
}

// authorizationOf returns an authorization of an account.
func (m *Memory) authorizationOf(account, id acme.ID) (*memoryAuthorization, error) {
	a, found := m.authorizations[id]
	if !found || a.AccountID != account {
		return nil, notFound("authorization", id)
	}
	return a, nil
}

// stateError returns the error for a change that the state did not allow.
func (a *memoryAuthorization) stateError() error {
	state := string(a.Status)
	if (a.Status == acme.AuthorizationPending || a.Status == acme.AuthorizationValid) && !a.ExpiresAt.After(time.Now()) {
		state = string(acme.AuthorizationExpired)
	}
	return &acme.StateError{Object: "authorization", ID: a.ID, State: state}
}

// CreateAuthorization adds a pre-authorization of a valid account, paid for by spends.
func (m *Memory) CreateAuthorization(ctx context.Context, a *acme.Authorization, spends []acme.Spend) ([]acme.Quota, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.validAccount(a.AccountID); err != nil {
		return nil, err
	}
	quotas, err := m.spend(spends, a.AccountID)
	if err != nil {
		return nil, err
	}
	kept := &memoryAuthorization{Authorization: *cloneAuthorization(a)}
	kept.OrderID, kept.ExpiresAt, kept.CreatedAt = acme.ID{}, stored(a.ExpiresAt), stored(a.CreatedAt)
	m.authorizations[a.ID] = kept
	return quotas, nil
}

// ValidAuthorizations returns valid authorizations of an account: for each of the
// identifiers the one that lasts longest, of those made after a time that last
// until another; where proved is true, of those alone of which control was proved.
func (m *Memory) ValidAuthorizations(ctx context.Context, account acme.ID, identifiers []acme.Identifier, madeAfter, lastUntil time.Time, proved bool) ([]*acme.Authorization, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var held []*acme.Authorization
	for _, id := range identifiers {
		var best *memoryAuthorization
		for _, a := range m.authorizations {
			fits := a.AccountID == account && a.Status == acme.AuthorizationValid && a.Named() == id &&
				!a.CreatedAt.Before(madeAfter) && a.ExpiresAt.After(lastUntil) && (a.Proved() != nil || !proved)
			if fits && (best == nil || a.ExpiresAt.After(best.ExpiresAt)) {
				best = a
			}
		}
		if best != nil {
			held = append(held, cloneAuthorization(&best.Authorization))
		}
	}
	return held, nil
}

// OrderAuthorizations returns an order of an account with its authorizations.
func (m *Memory) OrderAuthorizations(ctx context.Context, by *acme.Proof, order acme.ID) (*acme.Order, []*acme.Authorization, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.accept(by); err != nil {
		return nil, nil, err
	}
	o, found := m.orders[order]
	if !found || o.AccountID != by.Account {
		return nil, nil, notFound("order", order)
	}
	var authorizations []*acme.Authorization
	for _, id := range o.Authorizations {
		if a := m.authorizations[id]; a != nil {
			authorizations = append(authorizations, cloneAuthorization(&a.Authorization))
		}
	}
	return cloneOrder(&o.Order), authorizations, nil
}

// DeactivateAuthorization gives up a pending or valid authorization that has not
// expired; the unfinished orders that need it become invalid.
func (m *Memory) DeactivateAuthorization(ctx context.Context, account, authorization acme.ID) (*acme.Authorization, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	needs := func(o *memoryOrder) bool {
		return o.AccountID == account && slices.Contains(o.Authorizations, authorization)
	}
	defer m.lockOrders(needs)()
	a, err := m.authorizationOf(account, authorization)
	if err != nil {
		return nil, err
	}
	open := a.Status == acme.AuthorizationPending || a.Status == acme.AuthorizationValid
	if !open || !a.ExpiresAt.After(time.Now()) {
		return nil, a.stateError()
	}
	if c := a.Challenge(a.attempted); c != nil && a.Status == acme.AuthorizationPending {
		c.Status = acme.ChallengeInvalid
	}
	a.Status, a.lease, a.dueAt = acme.AuthorizationDeactivated, acme.ID{}, time.Time{}
	problem := acme.Problemf(acme.Unauthorized, "an authorization of the order was deactivated")
	for _, o := range m.orders {
		if needs(o) {
			o.invalidate(problem)
		}
	}
	return cloneAuthorization(&a.Authorization), nil
}

// StartValidation takes a challenge from pending to processing and leases the
// validation to the caller.
func (m *Memory) StartValidation(ctx context.Context, by *acme.Proof, authorization acme.ID, t acme.ChallengeType,
	lease time.Duration, spends []acme.Spend,
) (*acme.Authorization, *acme.Validation, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.accept(by); err != nil {
		return nil, nil, err
	}
	account := by.Account
	a, err := m.authorizationOf(account, authorization)
	if err != nil {
		return nil, nil, err
	}
	c := a.Challenge(t)
	if c != nil && a.Status == acme.AuthorizationPending {
		if _, err := m.spend(spends, account); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case c == nil:
		return nil, nil, fmt.Errorf("challenge %q of authorization %s: %w", acme.Excerpt(string(t)), authorization, acme.ErrNotFound)
	case c.Status != acme.ChallengePending:
		return cloneAuthorization(&a.Authorization), nil, nil
	case a.Status != acme.AuthorizationPending || a.attempted != "" || !a.ExpiresAt.After(time.Now()):
		return nil, nil, a.stateError()
	}
	c.Status, a.attempted = acme.ChallengeProcessing, t
	v := m.lease(a, acme.NewID(), lease)
	return cloneAuthorization(&a.Authorization), v, nil
}

// lease counts an attempt of an authorization and gives it to the holder of mark.
func (m *Memory) lease(a *memoryAuthorization, mark acme.ID, lease time.Duration) *acme.Validation {
	a.lease, a.dueAt = mark, time.Now().Add(lease)
	a.attempts++
	var key acme.Thumbprint
	if holder := m.accounts[a.AccountID]; holder != nil {
		key, _ = acme.ThumbprintOf(holder.Key) // CreateAccount did it before
	}
	v := a.Validation(a.attempted, key)
	v.Attempt, v.Lease, v.FormerKeys = a.attempts, mark, slices.Clone(m.formerKeys[a.AccountID])
	return v
}

// cloneAuthorization copies an authorization.
func cloneAuthorization(a *acme.Authorization) *acme.Authorization {
	clone := *a
	clone.Challenges = slices.Clone(a.Challenges)
	return &clone
}
