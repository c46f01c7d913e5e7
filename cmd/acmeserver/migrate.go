package main

import (
	"context"
	"flag"
	"log/slog"

	"github.com/acme-ca/acme-ca-operator/acme/postgres"
)

// migrate brings a database's schema to this version. The operator does the same
// before it rolls out a new image.
func migrate(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var database databaseFlags
	database.add(flags)
	if err := parse(flags, args); err != nil {
		return err
	}
	c, err := database.settings()
	if err != nil {
		return err
	}
	c.Logger = newLogger(slog.LevelInfo)
	return postgres.Migrate(ctx, c)
}
