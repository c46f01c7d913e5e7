package acmetest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// ClaimValidations leases up to limit validations that are due to the caller: accounts
// take turns, each with what is due for longest, behind what it has in flight.
func (m *Memory) ClaimValidations(ctx context.Context, limit int, lease time.Duration) ([]*acme.Validation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []*memoryAuthorization
	now, places, turns := time.Now(), map[acme.ID]int{}, map[acme.ID]int{}
	for _, a := range m.authorizations {
		switch {
		case a.dueAt.IsZero():
		case a.dueAt.After(now):
			places[a.AccountID]++
		default:
			due = append(due, a)
		}
	}
	slices.SortFunc(due, func(a, b *memoryAuthorization) int { return a.dueAt.Compare(b.dueAt) })
	for _, a := range due {
		places[a.AccountID]++
		turns[a.ID] = places[a.AccountID]
	}
	slices.SortStableFunc(due, func(a, b *memoryAuthorization) int { return cmp.Compare(turns[a.ID], turns[b.ID]) })
	var claimed []*acme.Validation
	mark := acme.NewID()
	for _, a := range due[:min(limit, len(due))] {
		claimed = append(claimed, m.lease(a, mark, lease))
	}
	return claimed, nil
}

// RecordValidation ends a validation whose lease v still has, and takes the order
// to ready or invalid with it.
func (m *Memory) RecordValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, spends []acme.Spend) (acme.Challenge, error) {
	if err := ctx.Err(); err != nil {
		return acme.Challenge{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.leased(v)
	if err != nil {
		return acme.Challenge{}, err
	}
	if problem == nil {
		delete(m.limits, memoryLimitKey{acme.PauseAfterConsecutiveFailures, acme.IdentifierSubject(v.AccountID, v.Identifier)})
	} else if _, err := m.spend(spends, v.AccountID); err != nil {
		return acme.Challenge{}, err
	}
	return *m.record(a, v, problem), nil
}

// record ends the validation of an authorization, and what that means for its order.
func (m *Memory) record(a *memoryAuthorization, v *acme.Validation, problem *acme.Problem) *acme.Challenge {
	c := a.Challenge(a.attempted)
	c.Error, a.lease, a.dueAt = storedProblem(problem), acme.ID{}, time.Time{}
	if problem == nil {
		a.Status, c.Status, c.ValidatedAt = acme.AuthorizationValid, acme.ChallengeValid, stored(time.Now())
		if lasts := a.CreatedAt.Add(v.Lasts); lasts.After(a.ExpiresAt) {
			a.ExpiresAt = stored(lasts)
		}
		m.shorten(a, v.Until)
	} else {
		a.Status, c.Status = acme.AuthorizationInvalid, acme.ChallengeInvalid
	}
	m.settle(m.orders[a.OrderID], problem)
	return c
}

// Prove has a challenge attempted, once, before anything of it is stored, and records a
// proof.
func (m *Memory) Prove(ctx context.Context, by *acme.Proof, authorization acme.ID, t acme.ChallengeType, prove acme.ProveFunc) (*acme.Authorization, error) {
	v := m.takePending(by, authorization, t)
	if v == nil || !prove(ctx, v) {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.accept(by); err != nil {
		return nil, err
	}
	a := m.authorizations[authorization]
	if a == nil || a.Status != acme.AuthorizationPending || a.attempted != "" || !a.ExpiresAt.After(time.Now()) {
		return nil, nil
	}
	a.attempted, a.attempts = t, 1
	delete(m.limits, memoryLimitKey{acme.PauseAfterConsecutiveFailures, acme.IdentifierSubject(v.AccountID, v.Identifier)})
	m.record(a, v, nil)
	return cloneAuthorization(&a.Authorization), nil
}

// takePending returns the validation of a challenge of an order's authorization that
// nobody has responded to: to one caller, once.
func (m *Memory) takePending(by *acme.Proof, authorization acme.ID, t acme.ChallengeType) *acme.Validation {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.authorizationOf(by.Account, authorization)
	if err != nil || a.OrderID.IsZero() || a.tried || a.attempted != "" {
		return nil
	}
	v := a.FirstValidation(by, t)
	a.tried = v != nil
	return v
}

// shorten has an authorization end with its proof, and the order with it.
func (m *Memory) shorten(a *memoryAuthorization, until time.Time) {
	if until.IsZero() || !until.Before(a.ExpiresAt) {
		return
	}
	a.ExpiresAt = stored(until)
	if o := m.orders[a.OrderID]; o != nil && o.Status == acme.OrderPending && until.Before(o.ExpiresAt) {
		o.ExpiresAt = stored(until)
	}
}

// settle takes a pending order to ready, once all its authorizations are valid, or
// to invalid with the problem of the one that failed.
func (m *Memory) settle(o *memoryOrder, problem *acme.Problem) {
	switch {
	case o == nil || o.Status != acme.OrderPending:
	case problem != nil:
		o.invalidate(problem)
	case !slices.ContainsFunc(o.Authorizations, func(id acme.ID) bool {
		a := m.authorizations[id]
		return a == nil || a.Status != acme.AuthorizationValid
	}):
		o.Status = acme.OrderReady
	}
}

// RetryValidation gives the lease of v back; the validation is due after the given
// time.
func (m *Memory) RetryValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, after time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.leased(v)
	if err != nil {
		return err
	}
	a.lease, a.dueAt = acme.ID{}, time.Now().Add(after)
	if problem == nil {
		a.attempts--
	} else {
		a.Challenge(a.attempted).Error = storedProblem(problem)
	}
	return nil
}

// leased returns the authorization whose lease v has.
func (m *Memory) leased(v *acme.Validation) (*memoryAuthorization, error) {
	a, err := m.authorizationOf(v.AccountID, v.AuthorizationID)
	switch {
	case err != nil:
		return nil, err
	case a.Status != acme.AuthorizationPending:
		return nil, a.stateError()
	case a.lease != v.Lease || a.lease.IsZero():
		return nil, &acme.StateError{Object: "authorization", ID: a.ID, State: "leased to another"}
	}
	return a, nil
}
