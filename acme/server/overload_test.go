package server_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// stuckStore is a store whose reading of orders, and of CRLs, takes as long as the
// test wants.
type stuckStore struct {
	acmetest.Store
	asked chan struct{} // one for each call
	goOn  chan struct{} // closed when they may go on
}

func (s *stuckStore) Order(ctx context.Context, by *acme.Proof, order acme.ID) (*acme.Order, error) {
	s.asked <- struct{}{}
	<-s.goOn
	return s.Store.Order(ctx, by, order)
}

func (s *stuckStore) CRL(ctx context.Context, id acme.IssuerID) (acme.CRL, error) {
	s.asked <- struct{}{}
	<-s.goOn
	return s.Store.CRL(ctx, id)
}

func TestWhoeverComesWhenThereIsEnoughToDoIsToldToComeBack(t *testing.T) {
	t.Parallel()
	const most = 3
	store := &stuckStore{Store: acmetest.NewMemory(), asked: make(chan struct{}), goOn: make(chan struct{})}
	s := acmetest.StartServer(t, store, server.Config{MaxRequests: most})
	c := s.NewAccount(t)
	o, err := c.NewOrder(t.Context(), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	statuses, all := make([]int, most), sync.WaitGroup{}
	for i := range most {
		all.Go(func() {
			if resp, err := c.Post(t.Context(), o.URL, nil); err != nil {
				t.Error(err)
			} else {
				statuses[i] = resp.Status
			}
		})
	}
	for range most {
		<-store.asked
	}
	// A nonce of before: newNonce is no exception.
	jws := &acmetest.JWS{Key: c.Key, KeyID: c.Account, URL: o.URL}
	refused, err := c.PostJWS(t.Context(), o.URL, jws)
	if err != nil {
		t.Fatal(err)
	}
	retry, err := strconv.Atoi(refused.Header.Get("Retry-After"))
	if refused.Status != http.StatusServiceUnavailable || err != nil || retry < 1 || refused.Header.Get("Replay-Nonce") == "" {
		t.Errorf("one more: status %d, %v", refused.Status, refused.Header)
	}
	if resp, err := c.Get(t.Context(), s.DirectoryURL()); err != nil || resp.Status != http.StatusServiceUnavailable {
		t.Errorf("the directory: %v, %v; want it refused too", resp, err)
	}
	close(store.goOn)
	all.Wait()
	if diff := cmp.Diff([]int{http.StatusOK, http.StatusOK, http.StatusOK}, statuses); diff != "" {
		t.Errorf("those that were being worked on (-want +got):\n%s", diff)
	}
	if resp, err := c.Get(t.Context(), s.DirectoryURL()); err != nil || resp.Status != http.StatusOK {
		t.Errorf("afterwards: %v, %v", resp, err)
	}
}
