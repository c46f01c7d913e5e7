package server

import (
	"errors"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// authorizationJSON is the authorization object (RFC 8555 §7.1.4).
type authorizationJSON struct {
	Identifier acme.Identifier          `json:"identifier"`
	Status     acme.AuthorizationStatus `json:"status"`
	Expires    string                   `json:"expires,omitempty"`
	Challenges []challengeJSON          `json:"challenges"`
	Wildcard   bool                     `json:"wildcard,omitempty"`
}

// pollInterval is when a client should ask again for what is being validated.
const pollInterval = time.Second

// authorization reads an authorization or gives it up (RFC 8555 §7.5, §7.5.2).
// One round trip to read, two to give it up.
func (s *Server) authorization(r *request) (*response, error) {
	id, err := r.id()
	if err != nil {
		return nil, err
	}
	if r.isPostAsGet() {
		a, err := s.config.Store.Authorization(r.ctx, r.proof, id)
		if err != nil {
			return nil, err
		}
		return s.authorizationResponse(r, a), nil
	}
	var payload struct {
		Status acme.AuthorizationStatus `json:"status"`
	}
	if err := r.decode(&payload); err != nil {
		return nil, err
	}
	if payload.Status != acme.AuthorizationDeactivated {
		return nil, acme.Problemf(acme.Malformed, `status: a client may set "deactivated" only`)
	}
	if err := r.settle(); err != nil {
		return nil, err
	}
	a, err := s.config.Store.DeactivateAuthorization(r.ctx, r.account.ID, id)
	var state *acme.StateError
	switch {
	case errors.As(err, &state):
		return nil, acme.Problemf(acme.Malformed, "the authorization is %s; only a pending or valid one is deactivated", state.State)
	case err != nil:
		return nil, err
	}
	return s.authorizationResponse(r, a), nil
}

// authorizationResponse answers with an authorization as it is now.
func (s *Server) authorizationResponse(r *request, a *acme.Authorization) *response {
	body := authorizationJSON{Identifier: a.Identifier, Status: a.Status, Expires: formatTime(a.ExpiresAt), Wildcard: a.Wildcard}
	expires := a.Status == acme.AuthorizationPending || a.Status == acme.AuthorizationValid
	if expires && !a.ExpiresAt.After(s.config.Now()) {
		body.Status = acme.AuthorizationExpired
	}
	resp := &response{}
	for i := range a.Challenges {
		c := &a.Challenges[i]
		if c.Status == acme.ChallengeProcessing {
			resp.retryAfter = pollInterval // RFC 8555 §7.5.1
		}
		body.Challenges = append(body.Challenges, s.challengeBody(r, a, c))
	}
	resp.body = body
	return resp
}
