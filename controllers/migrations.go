package controllers

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

const (
	// pendingTimeout bounds the question whether there is something to migrate. A
	// reconcile waits for the answer of a database that was reached before.
	pendingTimeout = 6 * time.Second
	// migrateTimeout bounds a migration, with the question before it.
	migrateTimeout = 10 * time.Minute
	// answerKept is how long an answer waits for a reconcile, and answerTold how long it
	// counts for those that come after that one: the cache may have the status of before.
	answerKept = time.Minute
	answerTold = 5 * time.Second
)

// migrations run beside the reconciles, at most one for each AcmeServer, and so do the
// questions to databases that are not reached: one that hangs, or has much to rewrite,
// keeps no AcmeServer waiting but its own. They are not ended with the operator, but by
// the end of its process: what a migration has not committed then, the next one does.
type migrations struct {
	// ended has an event for each that has ended.
	ended chan event.GenericEvent
	// retries tells when one that has failed is tried again, as any reconcile is.
	retries workqueue.TypedRateLimiter[types.NamespacedName]

	mu  sync.Mutex
	all map[types.NamespacedName]*migration
}

// migration is one that runs, or ended with err at a time.
type migration struct {
	database Database
	cancel   context.CancelFunc
	running  bool
	said     string // of the database, while it runs
	err      error
	at       time.Time
	again    time.Time // when one that has failed is to be tried again
	told     time.Time // when a reconcile first learned of its success
}

// newMigrations returns migrations of which there are none.
func newMigrations() *migrations {
	// The jitter adds a fourth.
	return &migrations{
		ended:   make(chan event.GenericEvent),
		retries: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](2*firstRetry, lastRetry*4/5),
		all:     map[types.NamespacedName]*migration{},
	}
}

// begin lets do work with an AcmeServer's database, of which is said meanwhile what was
// said before, if anything.
func (m *migrations) begin(ctx context.Context, server *v1alpha1.AcmeServer, d Database, said string, do MigrateFunc) {
	log := ctrl.LoggerFrom(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrateTimeout)
	key := client.ObjectKeyFromObject(server)
	m.mu.Lock()
	begun := &migration{database: d, cancel: cancel, running: true, said: said}
	m.all[key] = begun
	m.mu.Unlock()
	woken := &v1alpha1.AcmeServer{}
	woken.Namespace, woken.Name = server.Namespace, server.Name
	go func() {
		defer cancel()
		err := recovered(ctx, d, do)
		m.mu.Lock()
		current := m.all[key] == begun // else it was of a database that is no longer the AcmeServer's
		if current {
			m.end(key, begun, err)
		}
		m.mu.Unlock()
		if err != nil && current {
			log.Info("the database cannot be used", "reason", withoutSecrets(err.Error(), d.URL))
		}
		m.ended <- event.GenericEvent{Object: woken}
	}()
}

// recovered calls do, and makes an error of a panic, as reconciles do.
func recovered(ctx context.Context, d Database, do MigrateFunc) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return do(ctx, d)
}

// fail notes that a reconcile had no answer of an AcmeServer's database, which is asked
// beside the reconciles from now on. The status tells of it too, later.
func (m *migrations) fail(key types.NamespacedName, d Database, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[key] = &migration{database: d, cancel: func() {}}
	m.end(key, m.all[key], err)
}

// end notes what came of a migration. Those of one Postgres that have failed are not all
// tried again at once.
func (m *migrations) end(key types.NamespacedName, ended *migration, err error) {
	ended.running, ended.err, ended.at = false, err, time.Now()
	if err == nil {
		m.retries.Forget(key)
		return
	}
	ended.again = ended.at.Add(wait.Jitter(m.retries.When(key), 0.25))
}

// beside is what is known of a database that is worked with beside the reconciles.
type beside struct {
	// running is whether something is, and said what is said of the database meanwhile.
	running bool
	said    string
	// err is why it has failed, and again when it is to be tried again.
	err   error
	again time.Time
	// answered is whether it has succeeded just now.
	answered bool
	// other is whether it was of a database that is no longer the AcmeServer's.
	other bool
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
		m.drop(key)
		return beside{other: true}
	case found.running:
		return beside{running: true, said: found.said}
	case found.err != nil:
		return beside{err: found.err, again: found.again}
	case found.told.IsZero() && time.Since(found.at) < answerKept:
		found.told = time.Now()
		return beside{answered: true}
	case time.Since(found.told) < answerTold:
		return beside{answered: true}
	}
	m.drop(key)
	return beside{}
}

// drop forgets what is known of an AcmeServer's database, and how often it has failed.
func (m *migrations) drop(key types.NamespacedName) {
	delete(m.all, key)
	m.retries.Forget(key)
}

// forgive has an AcmeServer's database asked at once that has failed before, as where it
// has started again.
func (m *migrations) forgive(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found := m.all[key]; found != nil && !found.running {
		m.drop(key)
	}
}

// forget ends what runs for an AcmeServer that is gone.
func (m *migrations) forget(key types.NamespacedName) { m.look(key, Database{}) }

// equal reports whether two databases are reached in the same way.
func (d Database) equal(other Database) bool {
	return d.URL == other.URL && d.Schema == other.Schema && bytes.Equal(d.RootCAs, other.RootCAs)
}
