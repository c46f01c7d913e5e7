package server

import (
	"context"
	"errors"
	"slices"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// challengeJSON is the challenge object (RFC 8555 §7.1.5, §8).
type challengeJSON struct {
	Type      acme.ChallengeType   `json:"type"`
	URL       string               `json:"url"`
	Status    acme.ChallengeStatus `json:"status"`
	Token     string               `json:"token,omitempty"`
	Validated string               `json:"validated,omitempty"`
	Error     *acme.Problem        `json:"error,omitempty"`
	// Of dns-persist-01, which has no token: what a record must name. The second
	// spelling and the account are of the drafts before, which clients still read.
	IssuerDomainNames    []string `json:"issuerDomainNames,omitempty"`
	OldIssuerDomainNames []string `json:"issuer-domain-names,omitempty"`
	AccountURI           string   `json:"accounturi,omitempty"`
}

// challenge reads a challenge, or says that its response is in place (RFC 8555
// §7.5.1). The answer waits a little for the result. One round trip where that is a
// proof, made at once for an order of this replica, or else two; and one commit on disk:
// that of the result.
func (s *Server) challenge(r *request) (*response, error) {
	id, err := r.id()
	if err != nil {
		return nil, err
	}
	t := acme.ChallengeType(r.path("type"))
	if !slices.Contains(acme.ChallengeTypes, t) { // it may be no text that a database takes
		return nil, noChallenge()
	}
	if r.isPostAsGet() {
		a, err := s.config.Store.Authorization(r.ctx, r.proof, id)
		if err != nil {
			return nil, err
		}
		return s.challengeResponse(r, a, a.Challenge(t))
	}
	var payload struct{}
	if err := r.decode(&payload); err != nil {
		return nil, err
	}
	a, err := s.config.Store.Prove(r.ctx, r.proof, id, t, s.prove)
	switch {
	case err != nil:
		return nil, err
	case a != nil:
		return s.challengeResponse(r, a, a.Challenge(t))
	}
	return s.startChallenge(r, id, t)
}

// prove is the validator's; a server that trusts its accounts may have none.
func (s *Server) prove(ctx context.Context, v *acme.Validation) bool {
	return s.config.Validator != nil && s.config.Validator.Prove(ctx, v)
}

// startChallenge has a challenge validated of which there is no proof yet.
func (s *Server) startChallenge(r *request, id acme.ID, t acme.ChallengeType) (*response, error) {
	spends := s.config.Limits.ChallengeResponse(id, t)
	a, validation, err := s.config.Store.StartValidation(r.ctx, r.proof, id, t, s.config.ValidationLease, spends)
	var state *acme.StateError
	switch {
	case errors.As(err, &state):
		return nil, acme.Problemf(acme.Malformed, "the authorization is %s, or is being validated by another challenge", state.State)
	case err != nil:
		return nil, err
	}
	challenge := a.Challenge(t)
	if validation != nil {
		if result, done := s.awaitValidation(r, validation); done {
			challenge = &result
		}
	}
	return s.challengeResponse(r, a, challenge)
}

// awaitValidation hands a validation over and waits a moment for its result. The
// wait is longer than Postgres delays an asynchronous commit (three times
// wal_writer_delay, 200 ms), so a client that is told "processing" was told so of
// a row that is on disk.
func (s *Server) awaitValidation(r *request, v *acme.Validation) (acme.Challenge, bool) {
	r.leave()
	ctx, cancel := context.WithTimeout(r.ctx, s.config.ValidationWait)
	defer cancel()
	return s.config.Validator.Validate(ctx, v)
}

// noChallenge says that there is no challenge of the type that was asked for.
func noChallenge() error { return notFound("the authorization has no challenge of this type") }

// challengeResponse answers with a challenge; nil where there is none of the type.
func (s *Server) challengeResponse(r *request, a *acme.Authorization, c *acme.Challenge) (*response, error) {
	if c == nil {
		return nil, noChallenge()
	}
	showTrust(a)
	resp := &response{body: s.challengeBody(r, a, c), links: []string{link(r.base.authorization(a.ID), "up")}}
	if c.Status == acme.ChallengeProcessing {
		resp.retryAfter = pollInterval
	}
	return resp, nil
}

// challengeBody returns the wire form of a challenge.
func (s *Server) challengeBody(r *request, a *acme.Authorization, c *acme.Challenge) challengeJSON {
	body := challengeJSON{
		Type: c.Type, URL: r.base.challenge(a.ID, c.Type), Status: c.Status,
		Validated: formatTime(c.ValidatedAt), Error: c.Error,
	}
	if c.Type != acme.DNSPersist01 {
		body.Token = a.Token
		return body
	}
	names := s.config.Meta.CAAIdentities
	body.IssuerDomainNames, body.OldIssuerDomainNames, body.AccountURI = names, names, r.base.account(a.AccountID)
	return body
}
