package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// caaLasts is how long what CAA records said may be relied on, as the Baseline
	// Requirements of the CA/Browser Forum (§4.2.2.1) have it; RFC 8659 leaves it to
	// the authority.
	caaLasts = 8 * time.Hour
	// caaTimeout bounds the lookups of all names of an order together.
	caaTimeout = 10 * time.Second
	// caaAtOnce bounds how many names' records are looked up at once for one request, and
	// caaRequests for how many requests: an order stays ready when its lookups fail, so
	// that a client can ask for them again and again.
	caaAtOnce, caaRequests = 10, 32
)

// recheckCAA reads the CAA records of an order's names again where they were read
// too long ago: as a proof of control is held against them when it is made, that
// is when. Where all proofs of an order are its own and it is young, nothing is
// asked, not even the store. It is done before the order is locked: a slow DNS
// must hold neither a connection to the database nor the place of another request.
func (s *Server) recheckCAA(r *request, id acme.ID) error {
	own := !s.config.Trusted && s.config.AuthorizationReuse == 0
	now := s.config.Now()
	if s.config.CAA == nil || (own && now.Sub(id.Time()) < caaLasts) {
		return nil
	}
	order, authorizations, err := s.config.Store.OrderAuthorizations(r.ctx, r.proof, id)
	switch {
	case err != nil:
		return err
	case order.Status == acme.OrderPending: // not for FinalizeOrder, which may find it ready
		return finalizeProblem(&acme.StateError{Object: "order", ID: id, State: string(order.Status)})
	case order.Status != acme.OrderReady:
		return nil // what is wrong with the order is for FinalizeOrder to say
	}
	var stale []*acme.Challenge
	var names []acme.Identifier
	for _, name := range order.Identifiers {
		proof := proofOf(name, authorizations)
		if proof.ValidatedAt.Before(now.Add(-caaLasts)) {
			names, stale = append(names, name), append(stale, proof)
		}
	}
	if len(names) == 0 {
		return nil
	}
	found, err := s.takeCAATurn(r, func() []*acme.Problem { return s.checkCAA(r, names, stale) })
	if err != nil {
		return err
	}
	return together(found, len(order.Identifiers)) // the order stays ready: a record can be corrected
}

// takeCAATurn calls look when few enough requests look records up, for which it waits
// in the place of the request: so there are no more who wait than those have room. The
// place is another's while look runs.
func (s *Server) takeCAATurn(r *request, look func() []*acme.Problem) ([]*acme.Problem, error) {
	patience := time.NewTimer(caaTimeout)
	defer patience.Stop()
	select {
	case s.caaTurns <- struct{}{}:
		defer func() { <-s.caaTurns }()
	case <-patience.C:
		return nil, overloaded()
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	}
	r.leave()
	found := look()
	return found, r.enter()
}

// proofOf returns the challenge by which control of a name was proved; a zero one
// where it was not, or nobody knows any more.
func proofOf(name acme.Identifier, authorizations []*acme.Authorization) *acme.Challenge {
	i := slices.IndexFunc(authorizations, func(a *acme.Authorization) bool { return a.Named() == name })
	if i >= 0 {
		if c := authorizations[i].Proved(); c != nil {
			return c
		}
	}
	return new(acme.Challenge)
}

// checkCAA asks for the records of names, of which each was proved by a challenge,
// and returns what forbids issuance.
func (s *Server) checkCAA(r *request, names []acme.Identifier, proofs []*acme.Challenge) []*acme.Problem {
	ctx, cancel := context.WithTimeout(r.ctx, caaTimeout)
	defer cancel()
	found := make([]*acme.Problem, len(names))
	slots := make(chan struct{}, caaAtOnce)
	var wait sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			if found[i] = s.config.CAA.CheckCAA(ctx, r.proof.Account, name, proofs[i].Type); found[i] != nil {
				found[i].Identifier = &names[i]
			}
		})
	}
	wait.Wait()
	return slices.DeleteFunc(found, func(p *acme.Problem) bool { return p == nil })
}
