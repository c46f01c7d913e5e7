package acme

import (
	"context"
	"time"
)

// OrderStatus is a status of RFC 8555 §7.1.6.
type OrderStatus string

// The states of an order: pending → ready → valid, and from pending or ready to
// invalid. `processing` is not among them: an order is finalized under a lock of
// its row and leaves that as valid, or as it was (docs/adr/0003).
const (
	OrderPending OrderStatus = "pending"
	OrderReady   OrderStatus = "ready"
	OrderValid   OrderStatus = "valid"
	OrderInvalid OrderStatus = "invalid"
)

// Order is a request for one certificate (RFC 8555 §7.1.3), which has its ID.
type Order struct {
	ID          ID
	AccountID   ID
	Status      OrderStatus
	Identifiers []Identifier // sorted, each once
	// NotBefore and NotAfter are the validity asked for; zero where it was not.
	NotBefore, NotAfter time.Time
	// Profile is the name of the profile the certificate will have; never empty.
	Profile string
	// Replaces is the ARI certificate ID of the predecessor, or empty (RFC 9773 §5).
	Replaces string
	// Authorizations has one entry for each identifier, in their order.
	Authorizations []ID
	// Validating says of a pending order that it waits for the server alone: each of
	// its authorizations is valid or being validated. It is known where an order is
	// read, and nowhere else.
	Validating bool
	// Error tells why the order is invalid.
	Error     *Problem
	ExpiresAt time.Time
	CreatedAt time.Time
}

// OrderUnproved is what a ready order is said to be that a server made which trusted
// the account, where control has to be proved by now.
const OrderUnproved = "unproved"

// Finalization names the order to finalize and the key to be certified.
type Finalization struct {
	OrderID ID
	Key     Thumbprint
	// Proved asks for a proof of control: an order that was ready from the start,
	// without using authorizations again, is [OrderUnproved].
	Proved bool
}

// IssueFunc makes the certificate of an order. It must not keep the order, and
// must not use the store, which may hold the order's lock while it runs.
type IssueFunc func(ctx context.Context, o *Order) (*Certificate, error)

// OrderExpired returns the error of an order that nobody finalized in time.
func OrderExpired() *Problem {
	return Problemf(Malformed, "the order expired before it was finalized")
}
