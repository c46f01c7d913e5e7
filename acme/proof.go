package acme

// Proof is what a signed request proves: that the holder of an account's key made
// it, and that it is not a repetition (RFC 8555 §6.2, §6.5).
//
// Whoever verified the signature may have done so with a key that it remembers. A
// store that is given a proof takes the nonce, and makes sure of the account, in
// the transaction of what it is asked to do: one round trip for both. Where the
// account's key is another by now, or it is not valid any more, nothing is done,
// the nonce is not taken, and the error is [ErrAccountChanged]; where the nonce was
// used, nothing is done either ([ErrNonceUsed]).
type Proof struct {
	Account ID
	// Key is the thumbprint of the key that the signature was verified with.
	Key   Thumbprint
	Nonce Nonce
	// Redeemed says that nonce and account need no look any more. The store sets it
	// once a transaction that took the nonce is committed: after an error that undid
	// one, the nonce is still there, for the caller to take.
	Redeemed bool
}
