package server

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// keyChange gives an account a new key (RFC 8555 §7.3.5). The payload is a JWS
// itself, signed by the new key, and says which account and which old key it
// replaces. Two round trips, one commit.
func (s *Server) keyChange(r *request) (*response, error) {
	if r.isPostAsGet() {
		return nil, acme.Problemf(acme.Malformed, "this request needs a JWS as its payload; found none (POST-as-GET)")
	}
	inner, err := parseJWS(r.payload)
	if err != nil {
		return nil, err
	}
	key, err := s.checkKeyChange(r, inner)
	if err != nil {
		return nil, err
	}
	old, err := acme.ThumbprintOf(r.account.Key)
	if err != nil {
		return nil, err
	}
	if sum, err := acme.ThumbprintOf(key); err != nil || sum == old {
		p := acme.Problemf(acme.Malformed, "the new key is the one that the account has")
		p.Status, p.Location = http.StatusConflict, r.base.account(r.account.ID)
		return nil, p
	}
	account, err := s.config.Store.ChangeKey(r.ctx, r.account.ID, old, key, s.config.Limits.KeyChange(r.account.ID))
	var state *acme.StateError
	switch {
	case errors.Is(err, acme.ErrKeyInUse):
		// account is the one that has the key: RFC 8555 §7.3.5 wants its URL told.
		p := acme.Problemf(acme.Malformed, "another account has the new key")
		p.Status, p.Location = http.StatusConflict, r.base.account(account.ID)
		return nil, p
	case errors.As(err, &state):
		return nil, unauthorized("the account is %s, or its key was changed meanwhile", state.State)
	case err != nil:
		return nil, err
	}
	s.accounts.Remove(account.ID)
	return &response{location: r.base.account(account.ID), body: r.base.accountBody(account)}, nil
}

// checkKeyChange checks the inner JWS and returns the new key.
func (s *Server) checkKeyChange(r *request, inner *jose.JSONWebSignature) (*jose.JSONWebKey, error) {
	h := inner.Signatures[0].Protected
	if h.JSONWebKey == nil {
		return nil, acme.Problemf(acme.Malformed, `the inner JWS must have "jwk": the new key`)
	}
	if err := checkKey(h.JSONWebKey); err != nil {
		return nil, err
	}
	if h.Nonce != "" {
		return nil, acme.Problemf(acme.Malformed, `the inner JWS must not have a "nonce"`)
	}
	if url, _ := h.ExtraHeaders["url"].(string); url != r.base.to(keyChangePath) {
		return nil, acme.Problemf(acme.Malformed, "the inner JWS was made for the url %q; the outer for %q", acme.Excerpt(url), r.base.to(keyChangePath))
	}
	body, err := inner.Verify(h.JSONWebKey)
	if err != nil {
		return nil, acme.Problemf(acme.Malformed, "the inner JWS does not verify with the new key")
	}
	var payload struct {
		Account string          `json:"account"`
		OldKey  json.RawMessage `json:"oldKey"`
	}
	if err := json.Unmarshal(body, &payload); err != nil {
		return nil, acme.Problemf(acme.Malformed, "the inner payload: %s", acme.Excerpt(err.Error()))
	}
	if id, err := s.accountOfURL(payload.Account); err != nil || id != r.account.ID {
		return nil, acme.Problemf(acme.Malformed, "the inner payload's account is %q; the outer JWS is signed by another", acme.Excerpt(payload.Account))
	}
	if !sameKey(payload.OldKey, r.account.Key) {
		return nil, acme.Problemf(acme.Malformed, "the inner payload's oldKey is not the account's key")
	}
	return bare(h.JSONWebKey), nil
}
