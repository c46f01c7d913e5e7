package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
)

// databaseFlags tell the commands that work on a database where it is.
type databaseFlags struct {
	configFile, urlFile, rootsFile string
	schema                         string // "": the default
}

// add adds the flags to those of a command.
func (d *databaseFlags) add(flags *flag.FlagSet) {
	flags.StringVar(&d.configFile, "config", "", "the configuration `file` of a server, to work on its database; default "+config.Path+", if there is one")
	flags.StringVar(&d.urlFile, "database-url-file", "", "a `file` with a Postgres connection URI, instead of --config; or set the environment variable DATABASE_URL")
	flags.StringVar(&d.rootsFile, "database-root-cas-file", "", "a PEM `file` with the roots to verify the database server against")
	flags.StringVar(&d.schema, "schema", "", "the Postgres `schema`; default "+postgres.DefaultSchema)
}

// settings returns where the database is. A URI has a password: it is not taken as an
// argument, which others can read.
func (d *databaseFlags) settings() (postgres.Config, error) {
	url := os.Getenv("DATABASE_URL")
	if d.configFile == "" && d.urlFile == "" && url == "" {
		if _, err := os.Stat(config.Path); err != nil {
			return postgres.Config{}, errors.New("name the database: --config, --database-url-file, or the environment variable DATABASE_URL")
		}
		d.configFile = config.Path
	}
	if d.configFile != "" {
		if d.urlFile != "" || d.rootsFile != "" || d.schema != "" {
			return postgres.Config{}, errors.New("the configuration of a server (" + d.configFile + ") names the database: leave out --database-url-file, --database-root-cas-file and --schema")
		}
		return serversDatabase(d.configFile)
	}
	c := postgres.Config{URL: url, Schema: d.schema}
	if d.urlFile != "" {
		data, err := os.ReadFile(d.urlFile)
		if err != nil {
			return c, fmt.Errorf("--database-url-file: %w", err)
		}
		c.URL = strings.TrimSpace(string(data))
	}
	if d.rootsFile != "" {
		data, err := os.ReadFile(d.rootsFile)
		if err != nil {
			return c, fmt.Errorf("--database-root-cas-file: %w", err)
		}
		c.RootCAs = data
	}
	return c, nil
}

// serversDatabase returns the database of a server, by its configuration file.
func serversDatabase(path string) (postgres.Config, error) {
	c, err := config.Read(path)
	if err != nil {
		return postgres.Config{}, err
	}
	return databaseConfig(c.Database)
}

// open opens the database, with one connection, and sees that it can be worked on.
func (d *databaseFlags) open(ctx context.Context) (*postgres.Store, error) {
	c, err := d.settings()
	if err != nil {
		return nil, err
	}
	c.MaxConnections, c.Logger = 1, newLogger(slog.LevelWarn)
	store, err := postgres.New(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := store.Ping(ctx); err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}
