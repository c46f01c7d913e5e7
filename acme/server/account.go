package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/mail"
	"strings"
	"unicode"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// accountJSON is the account object (RFC 8555 §7.1.2).
type accountJSON struct {
	Status               acme.AccountStatus `json:"status"`
	Contact              []string           `json:"contact,omitempty"`
	TermsOfServiceAgreed bool               `json:"termsOfServiceAgreed,omitempty"`
	Orders               string             `json:"orders"`
	// ExternalAccountBinding is shown by the answer that made the account alone (RFC
	// 8555 §7.3.4): what is kept of it is the key identifier.
	ExternalAccountBinding json.RawMessage `json:"externalAccountBinding,omitempty"`
}

// newAccountJSON is the payload of newAccount (RFC 8555 §7.3).
type newAccountJSON struct {
	Contact                []string        `json:"contact"`
	TermsOfServiceAgreed   bool            `json:"termsOfServiceAgreed"`
	OnlyReturnExisting     bool            `json:"onlyReturnExisting"`
	ExternalAccountBinding json.RawMessage `json:"externalAccountBinding"`
}

// newAccount makes an account, or finds the one that has the key. Two round trips.
func (s *Server) newAccount(r *request) (*response, error) {
	var payload newAccountJSON
	if err := r.decode(&payload); err != nil {
		return nil, err
	}
	thumbprint, err := acme.ThumbprintOf(r.key)
	if err != nil {
		return nil, err
	}
	if payload.OnlyReturnExisting { // needs neither terms nor binding (RFC 8555 §7.3.1)
		account, err := s.config.Store.AccountByKey(r.ctx, thumbprint)
		if errors.Is(err, acme.ErrNotFound) {
			return nil, acme.Problemf(acme.AccountDoesNotExist, "no account has this key")
		}
		return s.existingAccount(r, account, err)
	}
	account, err := s.accountOf(r, &payload)
	if err != nil {
		// Whoever has an account already gets it, whatever else the request lacks:
		// a client that lost its state asks again with what it has.
		if existing, lookup := s.config.Store.AccountByKey(r.ctx, thumbprint); lookup == nil {
			return s.existingAccount(r, existing, nil)
		}
		return nil, err
	}
	account, created, quotas, err := s.config.Store.CreateAccount(r.ctx, account, s.config.Limits.NewAccount(r.client))
	if err != nil || !created {
		return s.existingAccount(r, account, err)
	}
	body := r.base.accountBody(account)
	if account.ExternalAccountID != "" {
		body.ExternalAccountBinding = payload.ExternalAccountBinding
	}
	return &response{status: http.StatusCreated, location: r.base.account(account.ID), body: body, quotas: quotas}, nil
}

// accountOf makes the account that a newAccount asks for.
func (s *Server) accountOf(r *request, payload *newAccountJSON) (*acme.Account, error) {
	if err := checkContact(payload.Contact); err != nil {
		return nil, err
	}
	if terms := s.config.Meta.TermsOfService; terms != "" && !payload.TermsOfServiceAgreed {
		p := acme.Problemf(acme.UserActionRequired, "agree to the terms of service at %s", terms)
		p.Instance, p.Terms = terms, terms
		return nil, p
	}
	kid, err := s.config.ExternalAccounts.verify(payload.ExternalAccountBinding, r.key, r.base.to(newAccountPath))
	if err != nil {
		return nil, err
	}
	return &acme.Account{
		ID: acme.NewID(), Status: acme.AccountValid, Key: r.key, Contact: payload.Contact,
		TermsOfServiceAgreed: payload.TermsOfServiceAgreed, ExternalAccountID: kid, CreatedAt: s.config.Now(),
	}, nil
}

// existingAccount answers with an account that was there before (RFC 8555 §7.3.1).
func (s *Server) existingAccount(r *request, account *acme.Account, err error) (*response, error) {
	if err != nil {
		return nil, err
	}
	if account.Status != acme.AccountValid {
		return nil, unauthorized("the account with this key is %s", account.Status)
	}
	return &response{location: r.base.account(account.ID), body: r.base.accountBody(account)}, nil
}

// account reads, updates or deactivates the requester's account (RFC 8555
// §7.3.2, §7.3.6). Its authentication has read it: one round trip to read.
func (s *Server) account(r *request) (*response, error) {
	id, err := r.id()
	if err != nil {
		return nil, err
	}
	if id != r.account.ID {
		return nil, unauthorized("this account belongs to another key")
	}
	if r.isPostAsGet() {
		return &response{body: r.base.accountBody(r.account)}, nil
	}
	var payload struct {
		Status  acme.AccountStatus `json:"status"`
		Contact *[]string          `json:"contact"`
	}
	if err := r.decode(&payload); err != nil {
		return nil, err
	}
	account := r.account
	switch {
	case payload.Status == acme.AccountDeactivated:
		account, err = s.config.Store.DeactivateAccount(r.ctx, id)
		s.accounts.Remove(id)
	// Another status is ignored, as are orders and the agreement to the terms.
	case payload.Contact != nil:
		if err := checkContact(*payload.Contact); err != nil {
			return nil, err
		}
		account, err = s.config.Store.UpdateContact(r.ctx, id, *payload.Contact)
	}
	var state *acme.StateError
	switch {
	case errors.As(err, &state): // it was deactivated after we had read it
		return nil, unauthorized("the account is %s", state.State)
	case err != nil:
		return nil, err
	}
	return &response{body: r.base.accountBody(account)}, nil
}

// accountBody returns the wire form of an account.
func (b base) accountBody(a *acme.Account) accountJSON {
	return accountJSON{Status: a.Status, Contact: a.Contact, TermsOfServiceAgreed: a.TermsOfServiceAgreed, Orders: b.orders(a.ID)}
}

// The bounds of contacts.
const (
	maxContacts      = 10
	maxContactLength = 320
)

// checkContact checks contact URLs: mailto with one address and no header
// fields (RFC 8555 §7.3).
func checkContact(contact []string) error {
	if len(contact) > maxContacts {
		return acme.Problemf(acme.InvalidContact, "contact: %d URLs; at most %d", len(contact), maxContacts)
	}
	for _, c := range contact {
		address, ok := strings.CutPrefix(c, "mailto:")
		if !ok {
			return acme.Problemf(acme.UnsupportedContact, "contact %q: only mailto: URLs are served", acme.Excerpt(c))
		}
		// net/mail takes whatever is beyond ASCII, such as what moves a terminal's cursor.
		unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
		if len(address) > maxContactLength || strings.ContainsAny(address, "?%,") || strings.ContainsFunc(address, unprintable) {
			return acme.Problemf(acme.InvalidContact, "contact %q: want one address and no header fields", acme.Excerpt(c))
		}
		if parsed, err := mail.ParseAddress(address); err != nil || parsed.Address != address {
			return acme.Problemf(acme.InvalidContact, "contact %q: not an e-mail address", acme.Excerpt(c))
		}
	}
	return nil
}
