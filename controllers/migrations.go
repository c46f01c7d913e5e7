package controllers

import (
	"bytes"
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

const (
	// pendingTimeout bounds the question whether there is something to migrate, which
	// a reconcile waits for.
	pendingTimeout = 6 * time.Second
	// migrateTimeout bounds a migration, which none waits for.
	migrateTimeout = 10 * time.Minute
	// migrateAgain is how long after one that failed another is not begun.
	migrateAgain = 5 * time.Second
)

// migrations run beside the reconciles, at most one for each AcmeServer: a database
// that hangs, or has much to rewrite, keeps no AcmeServer waiting but its own. They
// are not ended with the operator, but by the end of its process: what a migration
// has not committed then, the next one does.
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
}

// newMigrations returns migrations of which there are none.
func newMigrations() *migrations {
	return &migrations{ended: make(chan event.GenericEvent), all: map[types.NamespacedName]*migration{}}
}

// begin lets the migration of an AcmeServer's database run.
func (m *migrations) begin(ctx context.Context, server *v1alpha1.AcmeServer, d Database, migrate MigrateFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrateTimeout)
	begun := &migration{database: d, cancel: cancel, running: true}
	m.mu.Lock()
	m.all[client.ObjectKeyFromObject(server)] = begun
	m.mu.Unlock()
	woken := &v1alpha1.AcmeServer{}
	woken.Namespace, woken.Name = server.Namespace, server.Name
	go func() {
		defer cancel()
		err := migrate(ctx, d)
		m.mu.Lock()
		begun.running, begun.err, begun.at = false, err, time.Now()
		m.mu.Unlock()
		m.ended <- event.GenericEvent{Object: woken}
	}()
}

// look reports whether the migration of a database runs, and the error of one that has
// failed, for as long as no other is to be begun. One of a database that is no longer the AcmeServer's is ended and forgotten.
func (m *migrations) look(key types.NamespacedName, d Database) (running bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.all[key]
	switch {
	case found == nil:
		return false, nil
	case !found.database.equal(d):
		found.cancel()
	case found.running:
		return true, nil
	case found.err != nil && time.Since(found.at) < migrateAgain:
		return false, found.err
	}
	delete(m.all, key)
	return false, nil
}

// forget ends what runs for an AcmeServer that is gone.
func (m *migrations) forget(key types.NamespacedName) { _, _ = m.look(key, Database{}) }

// equal reports whether two databases are reached in the same way.
func (d Database) equal(other Database) bool {
	return d.URL == other.URL && d.Schema == other.Schema && bytes.Equal(d.RootCAs, other.RootCAs)
}
