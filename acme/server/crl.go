package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// crlCheck is how old a replica's CRL may be before it asks whether there are
	// revocations that it does not have.
	crlCheck = 5 * time.Second
	// crlWait is how long a verifier waits for a newer CRL where there is a good one.
	crlWait = 2 * time.Second
	// crlRefresh is how often a replica asks though nobody wants a CRL: another may
	// have accepted a revocation, and have stopped before it signed.
	crlRefresh = time.Minute
	// crlLast bounds the work on a revocation that was accepted just before the end.
	crlLast = 5 * time.Second
	// crlMaxAge is how long a cache may keep a CRL, unless it ends before.
	crlMaxAge = 5 * time.Minute
)

// crlCache keeps the CRL of the issuer that this replica signs with.
type crlCache struct {
	mu      sync.Mutex // never held while anything is asked or signed
	crl     acme.CRL
	state   acme.RevocationState // that crl was made of
	checked time.Time            // when the store answered last, or failed to
	// revoked counts the revocations that this replica accepted, and listed those of
	// them that crl has.
	revoked, listed int

	refresh singleflight.Group // of one key
	wake    chan struct{}      // holds one, where something was revoked
	former  sync.Map           // acme.IssuerID → acme.CRL, the last read; for when the store does not answer
}

// RunCRLs keeps a CRL of the issuer signed, and kept in the store, until ctx ends:
// at the start, at half of its time, and soon after a revocation, whether or not
// anybody fetches it. Otherwise what was revoked before the key is replaced might be
// on no CRL, ever.
func (s *Server) RunCRLs(ctx context.Context) error {
	tick := time.NewTicker(crlRefresh)
	defer tick.Stop()
	for s.tryCRL(ctx) {
		select {
		case <-time.After(crlCheck): // many revocations are signed together
		case <-ctx.Done():
		}
		select {
		case <-tick.C:
		case <-s.crls.wake:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	if s.crls.behind() { // it was accepted, and this may be the last server that has the key
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), crlLast)
		defer cancel()
		s.tryCRL(last)
	}
	return nil
}

// tryCRL refreshes the CRL. It reports whether there is to be one: an issuer that may
// not sign CRLs has none, and no certificate points to one.
func (s *Server) tryCRL(ctx context.Context) bool {
	err := s.refreshCRL(ctx)
	if errors.Is(err, acme.ErrNotFound) {
		return false
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.config.Logger.Warn("no new CRL was made; the last one is served until its end", "error", err)
	}
	return true
}

// crl serves the CRL of an issuer (RFC 5280 §5) to whoever follows the
// distribution point of a certificate.
func (s *Server) crl(r *request) (*response, error) {
	id, err := issuerID(r.path("issuer"))
	if err != nil {
		return nil, err
	}
	crlOf := s.formerCRL
	if id == s.config.Issuer.ID() {
		crlOf = s.currentCRL
	}
	crl, err := crlOf(r, id)
	if err != nil {
		return nil, err
	}
	resp := &response{body: crl.DER, contentType: "application/pkix-crl"} // RFC 2585 §4
	// One that has ended is shown, for whoever wants to know why it is refused, and
	// is kept by no cache.
	if left := crl.NextUpdate.Sub(s.config.Now()); left > 0 {
		resp.cacheable = fmt.Sprintf("public, max-age=%d", int(min(left, crlMaxAge).Seconds()))
	}
	return resp, nil
}

// formerCRL returns the last CRL that was signed of an issuer whose key is no longer
// here.
func (s *Server) formerCRL(r *request, id acme.IssuerID) (acme.CRL, error) {
	crl, err := s.config.Store.CRL(r.ctx, id)
	switch {
	case err == nil:
		s.crls.former.Store(id, crl)
	case !errors.Is(err, acme.ErrNotFound):
		kept, _ := s.crls.former.Load(id)
		if last, ok := kept.(acme.CRL); ok {
			return last, nil
		}
	}
	return crl, err
}

// currentCRL returns a CRL that has every revocation of a few seconds ago. Where it
// cannot be found out whether the one that is there does, that is served until its end:
// a verifier has more of it than of an error.
func (s *Server) currentCRL(r *request, _ acme.IssuerID) (acme.CRL, error) {
	crl, fresh := s.crls.last(s.config.Now())
	if fresh {
		return crl, nil
	}
	r.leave() // however many wait, the work is one
	ctx, good := r.ctx, s.config.Now().Before(crl.NextUpdate)
	if good {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, crlWait)
		defer cancel()
	}
	if err := s.refreshCRL(ctx); err != nil && !good {
		return acme.CRL{}, err
	}
	crl, _ = s.crls.last(s.config.Now())
	return crl, nil
}

// last returns the CRL that is there, and whether the store need not be asked for more.
func (c *crlCache) last(now time.Time) (crl acme.CRL, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crl, now.Sub(c.checked) < crlCheck && now.Before(c.crl.NextUpdate)
}

// behind reports whether a revocation of this replica is on no CRL yet.
func (c *crlCache) behind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listed < c.revoked
}

// note has a revocation signed soon.
func (c *crlCache) note() {
	c.mu.Lock()
	c.revoked++
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default: // it is told already
	}
}

// refreshCRL waits until the CRL has what is revoked, or ctx ends. Whoever comes
// meanwhile waits for the same work, which goes on when they have gone.
func (s *Server) refreshCRL(ctx context.Context) error {
	done := s.crls.refresh.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.RequestTimeout)
		defer cancel()
		return nil, s.renewCRL(ctx)
	})
	select {
	case result := <-done:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renewCRL signs a CRL, and has the store keep it, where something was revoked since
// the last or half of its time is over.
func (s *Server) renewCRL(ctx context.Context) (err error) {
	c := &s.crls
	c.mu.Lock()
	crl, state, revoked := c.crl, c.state, c.revoked
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.checked = s.config.Now()
		if err == nil {
			c.crl, c.state, c.listed = crl, state, revoked
		}
	}()
	id, of := s.config.Issuer.ID(), state
	if state, err = s.config.Store.Revocations(ctx, id); err != nil {
		return err
	}
	half := crl.NextUpdate.Sub(crl.ThisUpdate) / 2
	if len(crl.DER) > 0 && state.Same(of) && state.AsOf.Before(crl.ThisUpdate.Add(half)) {
		return nil
	}
	if crl, err = s.config.Issuer.SignCRL(ctx, state); err != nil {
		return err
	}
	return s.config.Store.SaveCRL(ctx, id, crl)
}
