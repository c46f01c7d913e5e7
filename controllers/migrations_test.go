package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive,staticcheck // for Eventually
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers"
)

// applyAt makes an AcmeServer whose database is at a host.
func (c *cluster) applyAt(t *testing.T, host string) *v1alpha1.AcmeServer {
	t.Helper()
	server := &v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: "internal", Namespace: c.namespace(t)}}
	server.Spec.Database.SecretRef = &v1alpha1.DatabaseSecretReference{SecretReference: v1alpha1.SecretReference{Name: "db"}}
	check(t, c.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: server.Namespace},
		StringData: map[string]string{"uri": "postgresql://u:s3cr3t@" + host + "/acme"},
	}))
	check(t, c.Create(t.Context(), server))
	return server
}

func TestMigrationsThatHangKeepNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}, atOnce), make(chan struct{})
	shared.keepsNobodyWaiting(t, "migration", begun, finish, controllers.MigrateFunc(func(ctx context.Context, _ controllers.Database) error {
		begun <- struct{}{}
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
}

func TestDatabasesThatHangKeepNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}, atOnce), make(chan struct{})
	shared.keepsNobodyWaiting(t, "database", asked, answer, answersLate(asked, answer))
}

// answersLate is a database that answers when the test says so, whatever the deadline is.
func answersLate(asked chan<- struct{}, answer <-chan struct{}) controllers.PendingFunc {
	return func(context.Context, controllers.Database) (bool, error) {
		asked <- struct{}{}
		<-answer
		return false, nil
	}
}

// atOnce is more AcmeServers than are reconciled at once.
const atOnce = 12

// keepsNobodyWaiting makes so many, whose databases are as a test says, each of which
// begins something that does not end until finish is closed. Another must go on.
func (c *cluster) keepsNobodyWaiting(t *testing.T, name string, begun <-chan struct{}, finish chan struct{}, database any) {
	t.Helper()
	var hosts []string
	var servers []*v1alpha1.AcmeServer
	for i := range atOnce {
		hosts = append(hosts, fmt.Sprintf("%s-hangs-%d.test", name, i))
		c.databases.Store(hosts[i], database)
		servers = append(servers, c.applyAt(t, hosts[i]))
	}
	for range servers {
		NewWithT(t).Eventually(begun, patience).Should(Receive())
	}
	c.condition(t, servers[0], v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	c.condition(t, c.applyAt(t, name+"-answers.test"), v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
	for _, host := range hosts {
		c.databases.Delete(host)
	}
	close(finish)
	for _, server := range servers {
		c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
	}
}

// What was said of a database is not said of the one that is named instead.
func TestDatabaseThatIsNamedInsteadIsAskedAfresh(t *testing.T) {
	t.Parallel()
	c := shared
	c.databases.Store("database-lost.test", errors.New("nobody answers"))
	server := c.applyAt(t, "database-lost.test")
	c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonUnreachable)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	c.databases.Store("database-found.test", answersLate(asked, answer))
	secret := get(t, c, server, "db", &corev1.Secret{})
	secret.StringData = map[string]string{"uri": "postgresql://u:s3cr3t@database-found.test/acme"}
	check(t, c.Update(t.Context(), secret))
	NewWithT(t).Eventually(asked, patience).Should(Receive())
	c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	c.databases.Delete("database-found.test")
	close(answer)
	c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
}

func TestMigrationThatFailsIsToldOfAndTriedAgain(t *testing.T) {
	t.Parallel()
	c := shared
	c.databases.Store("migration-fails.test", controllers.MigrateFunc(func(_ context.Context, d controllers.Database) error {
		return errors.New("step 7 of " + d.URL + ": no space is left")
	}))
	server := c.applyAt(t, "migration-fails.test")
	message := c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonUnreachable)
	if !strings.Contains(message, "no space is left") || strings.Contains(message, "s3cr3t") {
		t.Errorf("the message is %q", message)
	}
	c.databases.Delete("migration-fails.test")
	c.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
}

func TestQuestionToADatabaseHasABound(t *testing.T) {
	t.Parallel()
	bounded := make(chan bool, 100)
	shared.databases.Store("migration-asked.test", controllers.PendingFunc(func(ctx context.Context, _ controllers.Database) (bool, error) {
		_, has := ctx.Deadline()
		bounded <- has
		return false, nil
	}))
	shared.applyAt(t, "migration-asked.test")
	NewWithT(t).Eventually(bounded, patience).Should(Receive(BeTrue()))
}

func TestEmbeddedDatabaseThatIsNotReachedAtOnceIsNoError(t *testing.T) {
	t.Parallel()
	server := shared.apply(t, v1alpha1.AcmeServerSpec{})
	shared.databases.Store(server.Namespace, errors.New("connection refused"))
	shared.startDatabase(t, server)
	said := func() string {
		return shared.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	}
	NewWithT(t).Eventually(said, patience).Should(ContainSubstring("not reached by its Service yet"))
	result, err := shared.reconciler.Reconcile(t.Context(), requestOf(server))
	if err != nil || result.RequeueAfter != time.Second {
		t.Errorf("it is tried again after %s (%v)", result.RequeueAfter, err)
	}
	shared.databases.Delete(server.Namespace)
	shared.condition(t, server, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonConnected)
}
