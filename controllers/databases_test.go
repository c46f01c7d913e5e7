package controllers_test

import (
	"context"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/controllers"
)

// pending stands for the question whether there is something to migrate: a database
// is there, and migrated, unless the test says that it is down, or who migrates it.
func (c *cluster) pending(ctx context.Context, d controllers.Database) (pending bool, err error) {
	switch found := c.database(d).(type) {
	case error:
		err = found
	case controllers.PendingFunc:
		return found(ctx, d)
	case controllers.MigrateFunc:
		pending = true
	}
	return pending, err
}

// migrate stands for the migration, whose own tests are in acme/postgres.
func (c *cluster) migrate(ctx context.Context, d controllers.Database) error {
	if migrate, ok := c.database(d).(controllers.MigrateFunc); ok {
		return migrate(ctx, d)
	}
	return nil
}

// database returns what a test says of a database.
func (c *cluster) database(d controllers.Database) (said any) {
	c.databases.Range(func(host, value any) bool {
		if strings.Contains(d.URL, host.(string)) {
			said = value
		}
		return said == nil
	})
	return said
}

// collect stands for the collection of garbage, which finds nothing unless the test
// says what it does.
func (c *cluster) collect(ctx context.Context, d controllers.Database, p acme.GarbagePolicy) (report acme.GarbageReport, err error) {
	c.collects.Range(func(part, collect any) bool {
		if strings.Contains(d.URL, part.(string)) {
			report, err = collect.(controllers.CollectFunc)(ctx, d, p)
			return false
		}
		return true
	})
	return report, err
}
