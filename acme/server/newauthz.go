package server

import (
	"errors"
	"net/http"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// newAuthz makes an authorization before any order needs it (RFC 8555 §7.4.1).
// It is of use where orders use authorizations again, and served only there. Two
// round trips, one commit.
func (s *Server) newAuthz(r *request) (*response, error) {
	if s.config.AuthorizationReuse == 0 {
		return nil, notFound("pre-authorization is not served here: the directory has no newAuthz")
	}
	var payload struct {
		Identifier struct{ Type, Value string } `json:"identifier"`
	}
	if err := r.decode(&payload); err != nil {
		return nil, err
	}
	id, err := acme.ParseIdentifier(payload.Identifier.Type, payload.Identifier.Value)
	if err != nil {
		return nil, err
	}
	if id.IsWildcard() {
		return nil, acme.Problemf(acme.Malformed, "identifier %q: wildcards are not pre-authorized (RFC 8555 §7.4.1)", id)
	}
	if err := s.checkName(id); err != nil {
		return nil, err
	}
	if err := s.checkProvable(id); err != nil {
		return nil, err
	}
	now := s.config.Now()
	a := s.newAuthorization(id, &acme.Order{AccountID: r.account.ID, ExpiresAt: now.Add(s.config.OrderLifetime), CreatedAt: now})
	quotas, err := s.config.Store.CreateAuthorization(r.ctx, a, s.config.Limits.NewAuthorization(a.AccountID, id))
	var state *acme.StateError
	switch {
	case errors.As(err, &state):
		return nil, unauthorized("the account is %s", state.State)
	case err != nil:
		return nil, err
	}
	resp := s.authorizationResponse(r, a)
	resp.status, resp.location, resp.quotas = http.StatusCreated, r.base.authorization(a.ID), quotas
	return resp, nil
}
