package controllers

import (
	"bytes"
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

const (
	// pendingTimeout bounds the question whether there is something to migrate. A
	// reconcile waits for the answer of a database that has always answered.
	pendingTimeout = 6 * time.Second
	// migrateTimeout bounds a migration, with the question before it.
	migrateTimeout = 10 * time.Minute
	// answerKept is how long a database that has answered is not asked beside the
	// reconciles again: the next reconcile asks it itself, and tells of it.
	answerKept = 5 * time.Second
)

// migrations run beside the reconciles, at most one for each AcmeServer, and so do the
// questions to databases that did not answer: a database that hangs, or has much to
// rewrite, keeps no AcmeServer waiting but its own. They are not ended with the operator,
// but by the end of its process: what a migration has not committed then, the next one
// does.
type migrations struct {
	// ended has an event for each that has ended.
	ended chan event.GenericEvent

	mu  sync.Mutex
	all map[types.NamespacedName]*migration
}

// migration is one that runs, or ended with err at a time.
type migration struct {
	database Database
	cancel   context.CancelFunc
	running  bool
	err      error
	at       time.Time
	failures int // in a row
}

// newMigrations returns migrations of which there are none.
func newMigrations() *migrations {
	return &migrations{ended: make(chan event.GenericEvent), all: map[types.NamespacedName]*migration{}}
}

// begin lets do work with an AcmeServer's database.
func (m *migrations) begin(ctx context.Context, server *v1alpha1.AcmeServer, d Database, do MigrateFunc) {
	log := ctrl.LoggerFrom(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrateTimeout)
	m.mu.Lock()
	begun := m.next(client.ObjectKeyFromObject(server), d)
	begun.cancel, begun.running = cancel, true
	m.mu.Unlock()
	woken := &v1alpha1.AcmeServer{}
	woken.Namespace, woken.Name = server.Namespace, server.Name
	go func() {
		defer cancel()
		err := do(ctx, d)
		m.mu.Lock()
		begun.end(err)
		m.mu.Unlock()
		if err != nil {
			log.Info("the database cannot be used", "reason", withoutSecrets(err.Error(), d.URL))
		}
		m.ended <- event.GenericEvent{Object: woken}
	}()
}

// fail notes that a reconcile had no answer of an AcmeServer's database, which is asked
// beside the reconciles from now on. The status tells of it too, later.
func (m *migrations) fail(key types.NamespacedName, d Database, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next(key, d).end(err)
}

// next takes the place of what is known of an AcmeServer's database, which look has shown
// to be of no other.
func (m *migrations) next(key types.NamespacedName, d Database) *migration {
	next := &migration{database: d, cancel: func() {}}
	if last := m.all[key]; last != nil {
		next.failures = last.failures
	}
	m.all[key] = next
	return next
}

// end notes what came of a migration.
func (m *migration) end(err error) {
	m.running, m.err, m.at = false, err, time.Now()
	if m.failures++; err == nil {
		m.failures = 0
	}
}

// again returns when one that has failed is to be tried again: with more and more time
// between, as any reconcile.
func (m *migration) again() time.Time {
	const doublings = 7 // of firstRetry are more than lastRetry
	return m.at.Add(min(firstRetry<<min(m.failures, doublings), lastRetry))
}

// beside is what is known of a database that is worked with beside the reconciles.
type beside struct {
	running bool
	// err is why it has failed, until it is to be tried again.
	err   error
	again time.Time
	// failed is whether it has, and is to be tried again now.
	failed bool
	// answered is whether it has succeeded just now.
	answered bool
}

// look tells of an AcmeServer's database. What works with one that is no longer the
// AcmeServer's is ended and forgotten.
func (m *migrations) look(key types.NamespacedName, d Database) beside {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.all[key]
	switch {
	case found == nil:
		return beside{}
	case !found.database.equal(d):
		found.cancel()
	case found.running:
		return beside{running: true}
	case found.err != nil && time.Now().Before(found.again()):
		return beside{err: found.err, again: found.again()}
	case found.err != nil:
		return beside{failed: true}
	case time.Since(found.at) < answerKept:
		return beside{answered: true}
	}
	delete(m.all, key)
	return beside{}
}

// forget ends what runs for an AcmeServer that is gone.
func (m *migrations) forget(key types.NamespacedName) { m.look(key, Database{}) }

// equal reports whether two databases are reached in the same way.
func (d Database) equal(other Database) bool {
	return d.URL == other.URL && d.Schema == other.Schema && bytes.Equal(d.RootCAs, other.RootCAs)
}
