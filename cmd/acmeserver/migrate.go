package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme/postgres"
)

// migrate brings a database's schema to this version. The operator does the same
// before it rolls out a new image.
func migrate(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var c postgres.Config
	file := flags.String("database-url-file", "", "a `file` with a Postgres connection URI; or set the environment variable DATABASE_URL")
	roots := flags.String("database-root-cas-file", "", "a PEM `file` with the roots to verify the database server against")
	flags.StringVar(&c.Schema, "schema", "acme", "the Postgres `schema`")
	if err := parse(flags, args); err != nil {
		return err
	}
	// A URI has a password: it is not taken as an argument, which others can read.
	c.URL = os.Getenv("DATABASE_URL")
	if *file != "" {
		data, err := os.ReadFile(*file)
		if err != nil {
			return err
		}
		c.URL = strings.TrimSpace(string(data))
	}
	if c.URL == "" {
		return errors.New("name the database: --database-url-file, or the environment variable DATABASE_URL")
	}
	if *roots != "" {
		data, err := os.ReadFile(*roots)
		if err != nil {
			return err
		}
		c.RootCAs = data
	}
	c.Logger = newLogger(slog.LevelInfo)
	return postgres.Migrate(ctx, c)
}
