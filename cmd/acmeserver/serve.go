package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"sigs.k8s.io/yaml"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// serve is the command that the operator's Deployment runs.
func serve(ctx context.Context, flags *flag.FlagSet, args []string) error {
	path := flags.String("config", "", "the configuration `file`, in YAML (required)")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *path == "" {
		return errors.New("--config is missing: name the configuration file")
	}
	c, err := config.Read(*path)
	if err != nil {
		return err
	}
	ca, err := readAuthority(&c.CertificateAuthority)
	if err != nil {
		return err
	}
	external, err := readExternalAccounts(&c.ExternalAccounts)
	if err != nil {
		return err
	}
	tradeMemory()
	log, registry := newLogger(slog.LevelInfo), newRegistry()
	db, err := databaseConfig(c.Database)
	if err != nil {
		return err
	}
	db.Logger, db.Registerer = log, registry
	store, err := postgres.New(ctx, db)
	if err != nil {
		return err
	}
	defer store.Close()
	return (&service{config: c, store: store, keys: ca, external: external, limiter: ratelimit.New(acme.RateLimitPolicy{}), log: log, registry: registry}).run(ctx)
}

// heapGrowth is by how many per cent the heap grows before what is unreachable is
// collected. A server keeps a few megabytes and makes a hundred kilobytes of garbage
// for each certificate: with Go's default it would collect many times a second, and
// spend a tenth of its processor time on it, to save memory that nobody misses.
const heapGrowth = 400

// tradeMemory gives memory for processor time, unless whoever runs the server has
// chosen another trade (GOGC).
func tradeMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
}

// newRegistry returns a registry with the metrics of the process.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// authorityKeys is what certificates are signed with.
type authorityKeys struct {
	chain, roots, alternates []*x509.Certificate
	signer                   crypto.Signer
}

// readAuthority reads the files of an authority.
func readAuthority(c *config.CertificateAuthority) (authorityKeys, error) {
	var keys authorityKeys
	var err error
	if keys.chain, err = readCertificates("certificateAuthority.certificateFile", c.CertificateFile); err != nil {
		return keys, err
	}
	if keys.roots, err = readCertificates("certificateAuthority.rootsFile", c.RootsFile); err != nil {
		return keys, err
	}
	if c.AlternateChainsFile != "" {
		if keys.alternates, err = readCertificates("certificateAuthority.alternateChainsFile", c.AlternateChainsFile); err != nil {
			return keys, err
		}
	}
	data, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return keys, fmt.Errorf("certificateAuthority.keyFile: %w", err)
	}
	if keys.signer, err = issuance.ParseKey(data); err != nil {
		return keys, fmt.Errorf("certificateAuthority.keyFile %s: %w", c.KeyFile, err)
	}
	return keys, nil
}

// readCertificates reads a file of certificates in PEM.
func readCertificates(field, path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	certificates, err := issuance.ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", field, path, err)
	}
	return certificates, nil
}

// readExternalAccounts reads the keys of external accounts.
func readExternalAccounts(c *config.ExternalAccounts) (server.ExternalAccounts, error) {
	e := server.ExternalAccounts{Required: c.Required, Keys: map[string][]byte{}}
	if err := readKeysDirectory(c.KeysDirectory, e.Keys); err != nil {
		return e, err
	}
	if c.KeysFile == "" {
		return e, nil
	}
	data, err := os.ReadFile(c.KeysFile)
	if err != nil {
		return e, fmt.Errorf("externalAccounts.keysFile: %w", err)
	}
	var keys map[string]string
	if err := yaml.UnmarshalStrict(data, &keys); err != nil {
		return e, fmt.Errorf("externalAccounts.keysFile %s: not a mapping of identifiers to keys", c.KeysFile)
	}
	for kid, key := range keys {
		if e.Keys[kid], err = parseExternalKey(key); err != nil {
			return e, fmt.Errorf("externalAccounts.keysFile %s: the key of %q %w", c.KeysFile, kid, err)
		}
	}
	return e, nil
}

// readKeysDirectory reads the keys of a directory, if one is named, into keys.
// What begins with a dot is how the kubelet keeps a volume, and no key.
func readKeysDirectory(path string, keys map[string][]byte) error {
	if path == "" {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("externalAccounts.keysDirectory: %w", err)
	}
	for _, entry := range entries {
		kid := entry.Name()
		if strings.HasPrefix(kid, ".") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(path, kid))
		if err != nil {
			return fmt.Errorf("externalAccounts.keysDirectory: %w", err)
		}
		if keys[kid], err = parseExternalKey(string(text)); err != nil {
			return fmt.Errorf("externalAccounts.keysDirectory %s: the key of %q %w", path, kid, err)
		}
	}
	return nil
}

// parseExternalKey reads a MAC key in base64url.
func parseExternalKey(text string) ([]byte, error) {
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(text), "="))
	if err != nil || len(key) < 16 {
		return nil, errors.New("is not base64url of at least 16 octets")
	}
	return key, nil
}

// databaseConfig reads the files of a database connection.
func databaseConfig(c *config.Database) (postgres.Config, error) {
	url, err := os.ReadFile(c.URLFile)
	if err != nil {
		return postgres.Config{}, fmt.Errorf("database.urlFile: %w", err)
	}
	db := postgres.Config{
		URL: strings.TrimSpace(string(url)), Schema: c.Schema, MaxConnections: int32(c.MaxConnections), //nolint:gosec // bounded by the config
	}
	if c.RootCAsFile != "" {
		if db.RootCAs, err = os.ReadFile(c.RootCAsFile); err != nil {
			return postgres.Config{}, fmt.Errorf("database.rootCAsFile: %w", err)
		}
	}
	return db, nil
}
