package server

import (
	"context"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rememberedAccounts bounds the accounts whose keys are remembered: about 10 MB.
const rememberedAccounts = 1 << 13

// authenticateAccount verifies a JWS with the key of the account that it names.
//
// Where the route takes a proof and the account is remembered, the store is not
// asked: it makes sure of the account when it takes the nonce, in the transaction of
// the request itself, and that saves a round trip. A signature that the remembered
// key does not verify may be of a newer key.
func (s *Server) authenticateAccount(rt route, r *request, jws *jose.JSONWebSignature, nonce acme.Nonce) error {
	kid := jws.Signatures[0].Protected.KeyID
	if kid == "" {
		return acme.Problemf(acme.Malformed, `this resource takes a JWS with "kid", not "jwk"`)
	}
	id, err := s.accountOfURL(kid)
	if err != nil {
		return err
	}
	r.ask = func() error { return s.askForAccount(r, jws, nonce, id) }
	if remembered, ok := s.accounts.Get(id); ok && rt.provable && r.verify(jws, remembered.Key) == nil {
		r.account, r.proof = remembered.Account, &acme.Proof{Account: id, Key: remembered.thumbprint, Nonce: nonce}
		return nil
	}
	return r.ask()
}

// rememberedAccount is an account as it was last seen.
type rememberedAccount struct {
	*acme.Account
	thumbprint acme.Thumbprint
}

// askForAccount takes the nonce and reads the account, in one round trip, and
// verifies the JWS.
func (s *Server) askForAccount(r *request, jws *jose.JSONWebSignature, nonce acme.Nonce, id acme.ID) error {
	account, err := s.config.Store.Authenticate(r.ctx, nonce, id)
	switch {
	case errors.Is(err, acme.ErrNotFound):
		return acme.Problemf(acme.AccountDoesNotExist, "no account has the URL %q", acme.Excerpt(jws.Signatures[0].Protected.KeyID))
	case err != nil:
		return s.storeNonceError(r.ctx, err)
	}
	if err := r.verify(jws, account.Key); err != nil {
		return err
	}
	if account.Status != acme.AccountValid {
		return unauthorized("the account is %s", account.Status)
	}
	r.account, r.proof = account, &acme.Proof{Account: id, Redeemed: true}
	if thumbprint, err := acme.ThumbprintOf(account.Key); err == nil {
		r.proof.Key = thumbprint
		s.accounts.Add(id, rememberedAccount{account, thumbprint})
	}
	return nil
}

// handle calls the endpoint, and makes sure of what it was proved by: an account
// that is another by now is asked for, once, and a nonce that no transaction of the
// endpoint took is taken, so that no answer leaves the nonce of its request behind.
func (s *Server) handle(rt route, r *request) (*response, error) {
	resp, err := s.call(rt, r)
	if r.proof == nil || r.proof.Redeemed {
		return resp, err
	}
	switch {
	case errors.Is(err, acme.ErrAccountChanged):
		s.accounts.Remove(r.proof.Account)
		if err := r.ask(); err != nil {
			return nil, err
		}
		return s.call(rt, r)
	case errors.Is(err, acme.ErrNonceUsed):
		return nil, s.nonceProblem(r.ctx, err)
	case errors.Is(err, acme.ErrUnavailable):
		return resp, err // and so would the store be for the nonce
	}
	if refused := s.config.Store.RedeemNonce(r.ctx, r.proof.Nonce); refused != nil {
		return nil, s.nonceProblem(r.ctx, refused)
	}
	return resp, err
}

// call calls the endpoint.
func (s *Server) call(rt route, r *request) (*response, error) {
	if r.account != nil && (rt.auth == public || rt.auth == byReader) && !r.isPostAsGet() {
		return nil, acme.Problemf(acme.Malformed, "this resource is read by POST-as-GET: with an empty payload (RFC 8555 §6.3)")
	}
	return rt.handle(s, r)
}

// settle makes sure of a proof before a request changes anything by a method of the
// store that does not take it.
func (r *request) settle() error {
	if r.proof.Redeemed {
		return nil
	}
	return r.ask()
}

// storeNonceError returns the problem for a nonce that the store refused, and
// any other error of the store as it is.
func (s *Server) storeNonceError(ctx context.Context, err error) error {
	if errors.Is(err, acme.ErrNonceUsed) {
		return s.nonceProblem(ctx, err)
	}
	return err
}

// accountOfURL returns the ID in an account URL under any of our base URLs.
func (s *Server) accountOfURL(kid string) (acme.ID, error) {
	for _, b := range s.bases {
		if rest, ok := strings.CutPrefix(kid, b.url+accountPath); ok {
			if id, err := acme.ParseID(rest); err == nil {
				return id, nil
			}
		}
	}
	return acme.ID{}, acme.Problemf(acme.AccountDoesNotExist, "kid %q is not an account URL of this server", acme.Excerpt(kid))
}
