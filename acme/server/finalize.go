package server

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// finalize issues the certificate of an order (RFC 8555 §7.4). Two round trips,
// one commit: the certificate and the order's new state are one transaction. One
// round trip more, and lookups of CAA records, where what was found of them may be old.
func (s *Server) finalize(r *request) (*response, error) {
	id, err := r.id()
	if err != nil {
		return nil, err
	}
	var payload struct {
		CSR string `json:"csr"`
	}
	if err := r.decode(&payload); err != nil {
		return nil, err
	}
	der, err := base64.RawURLEncoding.DecodeString(payload.CSR)
	if err != nil || len(der) == 0 {
		return nil, acme.Problemf(acme.BadCSR, "csr is not a CSR in DER in base64url without padding")
	}
	csr, err := s.config.Issuer.CheckRequest(der)
	if err != nil {
		return nil, err
	}
	key, err := acme.ThumbprintOf(&jose.JSONWebKey{Key: csr.PublicKey})
	if err != nil {
		return nil, acme.Problemf(acme.BadCSR, "csr: its key is not an RSA, EC or Ed25519 key")
	}
	if err := s.recheckCAA(r, id); err != nil {
		return nil, err
	}
	order, err := s.config.Store.FinalizeOrder(r.ctx, r.proof, acme.Finalization{OrderID: id, Key: key, Proved: !s.config.Trusted},
		func(ctx context.Context, o *acme.Order) (*acme.Certificate, error) {
			if err := s.checkNames(o.Identifiers); err != nil {
				return nil, err
			}
			return s.config.Issuer.Issue(ctx, o, csr)
		})
	if err != nil {
		return nil, finalizeProblem(err)
	}
	return &response{location: r.base.order(id), body: s.orderBody(r, order)}, nil
}

// finalizeProblem returns what a client is told of a refused finalize.
func finalizeProblem(err error) error {
	var state *acme.StateError
	switch {
	case errors.Is(err, acme.ErrKeyInUse):
		return acme.Problemf(acme.BadCSR, "the CSR has the key of an account; a certificate needs a key of its own")
	case errors.As(err, &state) && state.Object == "account": // it was deactivated meanwhile
		return unauthorized("the account is %s", state.State)
	case errors.As(err, &state) && state.State == string(acme.OrderPending):
		return acme.Problemf(acme.OrderNotReady, "the order is pending: not all of its authorizations are valid yet")
	case errors.As(err, &state) && state.State == acme.OrderUnproved:
		return acme.Problemf(acme.OrderNotReady, "the order was made while this server trusted its accounts, and control of its names was never proved; make a new order")
	case errors.As(err, &state):
		return acme.Problemf(acme.OrderNotReady, "the order is %s", state.State)
	}
	return err
}
