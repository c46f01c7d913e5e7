package acme

import (
	"errors"
	"fmt"
)

// Errors that a store returns, wrapped with what was asked for. What a client
// reads of them is decided by the endpoint, never by the store.
var (
	// ErrNotFound: no such object, or it belongs to another account.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the store could not be asked, now. Nothing was changed, or
	// whether it was is unknown; the client is told to come back (503).
	ErrUnavailable = errors.New("store unavailable")
	// ErrNonceUsed: the nonce was redeemed before, or its key is gone.
	ErrNonceUsed = errors.New("nonce was used before")
	// ErrAccountChanged: the account of a [Proof] has another key, or is not valid.
	ErrAccountChanged = errors.New("the account's key or state is another than was proved")
	// ErrKeyInUse: another account has this key (RFC 8555 §7.3.5).
	ErrKeyInUse = errors.New("key belongs to another account")
)

// StateError says that a transition was refused because the object was not in
// the state that it starts from. Nothing was changed.
type StateError struct {
	Object string // "order", "authorization", "account", "certificate"
	ID     ID
	State  string // the state found
}

// Error names the object and its state.
func (e *StateError) Error() string {
	return fmt.Sprintf("%s %s is %s", e.Object, e.ID, e.State)
}

// ErrNonceKeyGone says that the key which the nonce was sealed with is no longer
// kept. It is an [ErrNonceUsed]; whoever seals nonces must ask for the keys anew.
var ErrNonceKeyGone = fmt.Errorf("%w: its key is gone", ErrNonceUsed)
