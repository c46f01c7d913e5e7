package postgres

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rememberedOrders bounds the orders that are remembered: more than are under way at
// one replica in any second, and about a megabyte.
const rememberedOrders = 1 << 10

// rememberedAuthorizations bounds the authorizations that are remembered: a few
// megabytes.
const rememberedAuthorizations = 1 << 12

// orderMemory is the orders that this replica made and has not seen finalized, and
// those of their authorizations that nobody has responded to. What is remembered of one
// never changes, but for its state: that is looked at again by the statement that
// completes it.
type orderMemory struct {
	orders         *lru.Cache[acme.ID, *rememberedOrder]
	authorizations *lru.Cache[acme.ID, *rememberedAuthorization]
}

// rememberedAuthorization is an authorization as it was made with an order.
type rememberedAuthorization struct {
	*acme.Authorization
	alone bool // the order needs no other
}

// rememberedOrder is an order as it was made, and whether it was seen to be ready.
type rememberedOrder struct {
	trusted bool // ready from the start, and nothing was proved for it
	sync.Mutex
	order *acme.Order // nil once it was taken
	// over is closed when the one who took it is done with it: so that of those who
	// ask this replica to finalize an order at once, one issues.
	over chan struct{}
}

// newOrderMemory returns a memory of nothing.
func newOrderMemory() (*orderMemory, error) {
	orders, err := lru.New[acme.ID, *rememberedOrder](rememberedOrders)
	if err != nil {
		return nil, err
	}
	authorizations, err := lru.New[acme.ID, *rememberedAuthorization](rememberedAuthorizations)
	return &orderMemory{orders, authorizations}, err
}

// add remembers an order that was made with authorizations; proved says that it is
// ready, if it is, because of some of before.
func (m *orderMemory) add(o *acme.Order, authorizations []*acme.Authorization, proved bool) {
	made := *o
	m.orders.Add(o.ID, &rememberedOrder{
		order: &made, over: make(chan struct{}), trusted: o.Status == acme.OrderReady && !proved,
	})
	m.addPending(o, authorizations)
}

// addPending remembers the authorizations that are to be proved for an order.
func (m *orderMemory) addPending(o *acme.Order, authorizations []*acme.Authorization) {
	for _, a := range authorizations {
		if a.Status == acme.AuthorizationPending {
			made := *a
			m.authorizations.Add(a.ID, &rememberedAuthorization{&made, len(o.Authorizations) == 1})
		}
	}
}

// takePending returns an authorization of an account that nobody has responded to, as
// far as this replica knows, and the validation of one of its challenges: to one
// caller, once.
func (m *orderMemory) takePending(by *acme.Proof, authorization acme.ID, t acme.ChallengeType) (*rememberedAuthorization, *acme.Validation) {
	a, ok := m.authorizations.Get(authorization)
	if !ok {
		return nil, nil
	}
	v := a.FirstValidation(by, t)
	if v == nil || !m.authorizations.Remove(authorization) {
		return nil, nil
	}
	return a, v
}

// readied notes that an order has become ready.
func (m *orderMemory) readied(order acme.ID) {
	if r, ok := m.orders.Get(order); ok {
		r.Lock()
		defer r.Unlock()
		if r.order != nil {
			r.order.Status = acme.OrderReady
		}
	}
}

// forget forgets an order of which more has changed than its state.
func (m *orderMemory) forget(order acme.ID) { m.orders.Remove(order) }

// take returns an order of an account that was seen to be ready and to have time left,
// to one caller, who calls done. To others it returns none, and a channel that is
// closed by then; nil where nobody has it.
func (m *orderMemory) take(account acme.ID, f acme.Finalization) (o *acme.Order, done func(), over <-chan struct{}) {
	r, ok := m.orders.Get(f.OrderID)
	if !ok {
		return nil, nil, nil
	}
	r.Lock()
	defer r.Unlock()
	switch {
	case r.order == nil:
		return nil, nil, r.over
	case r.order.AccountID != account || r.order.Status != acme.OrderReady || f.Proved && r.trusted || !time.Now().Before(r.order.ExpiresAt):
		return nil, nil, nil
	}
	o, r.order = r.order, nil
	return o, func() {
		m.orders.Remove(f.OrderID)
		close(r.over)
	}, nil
}
