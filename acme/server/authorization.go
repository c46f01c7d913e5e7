package server

import (
	"errors"
	"slices"
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
	resp, shown := &response{}, shownChallenges(a)
	for i := range shown {
		c := &shown[i]
		if c.Status == acme.ChallengeProcessing {
			resp.retryAfter = pollInterval // RFC 8555 §7.5.1
		}
		body.Challenges = append(body.Challenges, s.challengeBody(r, a, c))
	}
	resp.body = body
	return resp
}

// showTrust shows the challenge of an authorization that is valid without a proof as
// met: whoever reads it is told so already by the authorization.
func showTrust(a *acme.Authorization) {
	if a.Status == acme.AuthorizationValid && a.Proved() == nil && len(a.Challenges) > 0 {
		a.Challenges[0].Status, a.Challenges[0].ValidatedAt = acme.ChallengeValid, a.CreatedAt
	}
}

// shownChallenges returns the challenge that an authorization was settled by, or else
// all that may settle it (RFC 8555 §7.1.4).
func shownChallenges(a *acme.Authorization) []acme.Challenge {
	showTrust(a)
	i := slices.IndexFunc(a.Challenges, func(c acme.Challenge) bool {
		return c.Status == acme.ChallengeValid || c.Status == acme.ChallengeInvalid
	})
	if i < 0 {
		return a.Challenges
	}
	return a.Challenges[i : i+1]
}
