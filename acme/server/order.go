package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// orderJSON is the order object (RFC 8555 §7.1.3).
type orderJSON struct {
	Status         acme.OrderStatus  `json:"status"`
	Expires        string            `json:"expires,omitempty"`
	Identifiers    []acme.Identifier `json:"identifiers"`
	NotBefore      string            `json:"notBefore,omitempty"`
	NotAfter       string            `json:"notAfter,omitempty"`
	Profile        string            `json:"profile,omitempty"`
	Replaces       string            `json:"replaces,omitempty"`
	Error          *acme.Problem     `json:"error,omitempty"`
	Authorizations []string          `json:"authorizations"`
	Finalize       string            `json:"finalize"`
	Certificate    string            `json:"certificate,omitempty"`
}

// newOrderJSON is the payload of newOrder (RFC 8555 §7.4).
type newOrderJSON struct {
	Identifiers []struct{ Type, Value string } `json:"identifiers"`
	NotBefore   string                         `json:"notBefore"`
	NotAfter    string                         `json:"notAfter"`
	Profile     string                         `json:"profile"`
	Replaces    string                         `json:"replaces"`
}

// newOrder makes an order and its authorizations. One round trip, one commit; one
// more round trip where it replaces a certificate, and one where authorizations
// are used again.
func (s *Server) newOrder(r *request) (*response, error) {
	var payload newOrderJSON
	if err := r.decode(&payload); err != nil {
		return nil, err
	}
	order, err := s.orderOf(r, &payload)
	if err != nil {
		return nil, err
	}
	replaced, err := s.checkReplaces(r, order)
	if err != nil {
		return nil, err
	}
	quotas, err := s.createOrder(r, order, replaced)
	if err != nil {
		return nil, err
	}
	return &response{status: http.StatusCreated, location: r.base.order(order.ID), body: s.orderBody(r, order), quotas: quotas}, nil
}

// orderOf makes the order that a payload asks for.
func (s *Server) orderOf(r *request, payload *newOrderJSON) (*acme.Order, error) {
	identifiers, err := s.parseIdentifiers(payload)
	if err != nil {
		return nil, err
	}
	now := s.config.Now()
	order := &acme.Order{
		ID: acme.NewID(), AccountID: r.account.ID, Status: acme.OrderPending, Identifiers: identifiers,
		Profile: payload.Profile, Replaces: payload.Replaces, ExpiresAt: now.Add(s.config.OrderLifetime), CreatedAt: now,
	}
	if order.Profile == "" {
		order.Profile = s.config.Issuer.DefaultProfile()
	} else if _, known := s.config.Issuer.Profiles()[order.Profile]; !known {
		return nil, acme.Problemf(acme.InvalidProfile, "profile %q is not in the directory's meta.profiles", acme.Excerpt(order.Profile))
	}
	if order.NotBefore, err = parseTime("notBefore", payload.NotBefore); err != nil {
		return nil, err
	}
	if order.NotAfter, err = parseTime("notAfter", payload.NotAfter); err != nil {
		return nil, err
	}
	// What lies within the profile is clamped at issuance; what never can is refused here.
	if !order.NotAfter.IsZero() && (order.NotAfter.Before(now) || !order.NotAfter.After(order.NotBefore)) {
		return nil, acme.Problemf(acme.Malformed, "notAfter %s lies in the past, or before notBefore", payload.NotAfter)
	}
	return order, nil
}

// parseIdentifiers returns the identifiers of an order, sorted and each once;
// the problem has a subproblem for each that is at fault (RFC 8555 §6.7.1).
func (s *Server) parseIdentifiers(payload *newOrderJSON) ([]acme.Identifier, error) {
	if n, most := len(payload.Identifiers), s.config.MaxIdentifiers; n == 0 || n > most {
		return nil, acme.Problemf(acme.Malformed, "identifiers: found %d; want 1 to %d", n, most)
	}
	var identifiers []acme.Identifier
	var faults []*acme.Problem
	for _, given := range payload.Identifiers {
		id, err := acme.ParseIdentifier(given.Type, given.Value)
		if err == nil {
			err = s.checkName(id)
		}
		if err == nil {
			err = s.checkProvable(id)
		}
		if p := s.problemOf(err); p != nil {
			faults = append(faults, p)
			continue
		}
		identifiers = append(identifiers, id)
	}
	return acme.SortIdentifiers(identifiers), together(faults, len(payload.Identifiers))
}

// together returns the one problem of some identifiers, or one that has all of them
// as subproblems (RFC 8555 §6.7.1); nil where there is none.
func together(faults []*acme.Problem, of int) error {
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	p := acme.Problemf(faults[0].Type, "%d of %d identifiers are at fault; the subproblems say how", len(faults), of)
	for _, f := range faults {
		if f.Type != p.Type {
			p.Type = acme.Compound
		}
	}
	p.Subproblems = faults
	return p
}

// checkProvable refuses an identifier that no challenge on offer can prove.
func (s *Server) checkProvable(id acme.Identifier) error {
	if s.config.Trusted || len(s.challengesFor(id)) > 0 {
		return nil
	}
	p := acme.Problemf(acme.RejectedIdentifier, "identifier %q: none of the challenge types offered here (%s) can prove it", id, s.config.Challenges)
	p.Identifier = &id
	return p
}

// challengesFor returns the challenge types to offer for an identifier.
func (s *Server) challengesFor(id acme.Identifier) []acme.ChallengeType {
	var types []acme.ChallengeType
	for _, t := range s.config.Challenges {
		if t.Proves(id) {
			types = append(types, t)
		}
	}
	return types
}

// createOrder stores an order with its authorizations: those that it may use
// again, and new ones for the rest.
func (s *Server) createOrder(r *request, o *acme.Order, replaced acme.Renewal) ([]acme.Quota, error) {
	reusable, err := s.reusable(r, o)
	if err != nil {
		return nil, err
	}
	spends := s.config.Limits.NewOrder(o.AccountID, o.Identifiers, replaced)
	quotas, err := s.config.Store.CreateOrder(r.ctx, r.proof, o, s.authorize(o, reusable), spends)
	var state *acme.StateError
	if errors.As(err, &state) && state.Object == "authorization" {
		// One that was to be used again was given up meanwhile: prove all anew.
		o.ID, o.Status, o.Authorizations = acme.NewID(), acme.OrderPending, nil
		quotas, err = s.config.Store.CreateOrder(r.ctx, r.proof, o, s.authorize(o, nil), spends)
	}
	switch {
	case errors.As(err, &state) && state.Object == "account":
		return nil, unauthorized("the account is %s", state.State)
	case errors.As(err, &state) && state.Object == "certificate":
		return nil, acme.Problemf(acme.AlreadyReplaced, "replaces: the certificate %s is being replaced, or was, by another order", o.Replaces)
	}
	return quotas, err
}

// reusable returns the authorizations that an order may use again, by identifier.
// An order does not outlive any of them.
func (s *Server) reusable(r *request, o *acme.Order) (map[acme.Identifier]*acme.Authorization, error) {
	if s.config.Trusted || s.config.AuthorizationReuse == 0 {
		return nil, nil
	}
	now := s.config.Now()
	held, err := s.config.Store.ValidAuthorizations(r.ctx, o.AccountID, o.Identifiers, now.Add(-s.config.AuthorizationReuse), now.Add(acme.MinReuse), true)
	if err != nil {
		return nil, err
	}
	byIdentifier := make(map[acme.Identifier]*acme.Authorization, len(held))
	for _, a := range held {
		byIdentifier[a.Named()] = a
		if a.ExpiresAt.Before(o.ExpiresAt) {
			o.ExpiresAt = a.ExpiresAt
		}
	}
	return byIdentifier, nil
}

// authorize enters the authorizations of a new order in it and returns those that
// are new. Where all are valid the order is ready.
func (s *Server) authorize(o *acme.Order, reusable map[acme.Identifier]*acme.Authorization) []*acme.Authorization {
	var created []*acme.Authorization
	pending := false
	for _, id := range o.Identifiers {
		a, ok := reusable[id]
		if !ok {
			a = s.newAuthorization(id, o)
			created = append(created, a)
		}
		pending = pending || a.Status == acme.AuthorizationPending
		o.Authorizations = append(o.Authorizations, a.ID)
	}
	if !pending {
		o.Status = acme.OrderReady
	}
	return created
}

// newAuthorization makes an authorization for an order; that of a trusted account
// is valid from the start.
func (s *Server) newAuthorization(id acme.Identifier, o *acme.Order) *acme.Authorization {
	a := &acme.Authorization{
		ID: acme.NewID(), AccountID: o.AccountID, OrderID: o.ID, Identifier: id.Base(), Wildcard: id.IsWildcard(),
		Status: acme.AuthorizationPending, Token: acme.NewToken(), ExpiresAt: o.ExpiresAt, CreatedAt: o.CreatedAt,
	}
	if s.config.Trusted {
		// Clients expect a challenge in every authorization; that of one which is
		// valid says nothing but that.
		a.Status = acme.AuthorizationValid
		a.Challenges = []acme.Challenge{{Type: trustedChallenge(id), Status: acme.ChallengeValid, ValidatedAt: o.CreatedAt}}
		return a
	}
	for _, t := range s.challengesFor(id) {
		a.Challenges = append(a.Challenges, acme.Challenge{Type: t, Status: acme.ChallengePending})
	}
	return a
}

// trustedChallenge returns the type shown in a trusted account's authorization.
func trustedChallenge(id acme.Identifier) acme.ChallengeType {
	for _, t := range acme.ChallengeTypes {
		if t.Proves(id) {
			return t
		}
	}
	return acme.HTTP01
}

// parseTime reads a time of RFC 3339; the zero time where it is not given.
func parseTime(field, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, acme.Problemf(acme.Malformed, "%s %q is not a time of RFC 3339, such as 2006-01-02T15:04:05Z", field, acme.Excerpt(value))
	}
	return t, nil
}

// order reads an order. One round trip.
func (s *Server) order(r *request) (*response, error) {
	id, err := r.id()
	if err != nil {
		return nil, err
	}
	order, err := s.config.Store.Order(r.ctx, r.proof, id)
	if err != nil {
		return nil, err
	}
	body := s.orderBody(r, order)
	resp := &response{body: body}
	if order.Validating && body.Status == acme.OrderPending {
		resp.retryAfter = pollInterval // as an authorization does (RFC 8555 §7.5.1)
	}
	return resp, nil
}

// orderBody returns the wire form of an order as it is now: one whose time has
// passed is invalid before the garbage collection has said so.
func (s *Server) orderBody(r *request, o *acme.Order) orderJSON {
	body := orderJSON{
		Status: o.Status, Expires: formatTime(o.ExpiresAt), Identifiers: o.Identifiers,
		NotBefore: formatTime(o.NotBefore), NotAfter: formatTime(o.NotAfter), Profile: o.Profile, Replaces: o.Replaces, Error: o.Error,
		Authorizations: make([]string, len(o.Authorizations)), Finalize: r.base.finalize(o.ID),
	}
	if (o.Status == acme.OrderPending || o.Status == acme.OrderReady) && !o.ExpiresAt.After(s.config.Now()) {
		body.Status = acme.OrderInvalid
		body.Error = acme.OrderExpired()
	}
	for i, id := range o.Authorizations {
		body.Authorizations[i] = r.base.authorization(id)
	}
	if o.Status == acme.OrderValid {
		body.Certificate = r.base.certificate(o.ID)
	}
	return body
}

// formatTime writes a time as RFC 3339; "" for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
