package postgres

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// connectTimeout bounds the making of a connection where the URL has no bound.
const connectTimeout = 5 * time.Second

// withDefaults returns the configuration with its defaults filled in.
func (c Config) withDefaults() Config {
	c.Schema = cmp.Or(c.Schema, DefaultSchema)
	c.MaxConnections = cmp.Or(c.MaxConnections, DefaultMaxConnections)
	c.StatementTimeout = cmp.Or(c.StatementTimeout, DefaultStatementTimeout)
	c.AcquireTimeout = cmp.Or(c.AcquireTimeout, DefaultAcquireTimeout)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// maxMessage bounds a message of the database, whose length is its own word, in
// octets. The longest that is meant is a row with a certificate and its chain, or
// with a policy of limits.
const maxMessage = 4 << 20

// urlKeys lists what a URL may say. It comes from whoever may write the Secret of an
// AcmeServer, and is read by the operator too: so it may name no files of the host
// (sslrootcert, passfile, service, …), and set nothing of a pool.
func urlKeys() []string {
	return []string{
		"host", "port", "user", "password", "dbname", "application_name", "channel_binding", "connect_timeout", "options",
		"require_auth", "ssl", "sslmode", "sslnegotiation", "sslsni", "synchronous_commit", "target_session_attrs",
	}
}

// poolConfig reads the configuration of a store's pool.
func poolConfig(cfg Config) (*pgxpool.Config, error) {
	if cfg.URL == "" { // it would be read as what the environment and the defaults of libpq say
		return nil, errors.New("the database's connection URI is empty")
	}
	if err := checkKeys(cfg.URL); err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, urlError(err)
	}
	pc.ConnConfig.MaxProtocolMessageBodyLen = maxMessage
	if err := secure(&pc.ConnConfig.Config, cfg.RootCAs); err != nil {
		return nil, err
	}
	pc.MaxConns = cfg.MaxConnections
	pc.MaxConnLifetimeJitter = pc.MaxConnLifetime / 10
	pc.PingTimeout = cfg.StatementTimeout
	if err := sessionParameters(pc.ConnConfig, cfg); err != nil {
		return nil, err
	}
	// After a fail-over, do not keep talking to the one that is no longer primary.
	if pc.ConnConfig.ValidateConnect == nil {
		pc.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	pc.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	pc.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		cfg.Logger.Debug("database notice", "code", n.Code, "message", n.Message)
	}
	return pc, nil
}

// sessionParameters sets what each session begins with, whatever the role or the
// database has as its own defaults.
func sessionParameters(cc *pgx.ConnConfig, cfg Config) error {
	cc.ConnectTimeout = cmp.Or(cc.ConnectTimeout, connectTimeout)
	timeout := strconv.FormatInt(cfg.StatementTimeout.Milliseconds(), 10)
	maps.Copy(cc.RuntimeParams, map[string]string{
		"search_path":       pgx.Identifier{cfg.Schema}.Sanitize(),
		"statement_timeout": timeout,

		// Who waited for a lock goes on from what the one before has left: all
		// statements here are made for that. By another level they would fail instead.
		"default_transaction_isolation": "read committed",

		// A server that stops between the two halves of FinalizeOrder, or whose node
		// is gone without a word, must not keep the order locked.
		"idle_in_transaction_session_timeout": timeout,

		// No statement of this package should ever read a whole table. Without this,
		// a plan made while the table was empty might, and be kept.
		"enable_seqscan": "off",

		// Nor should a join: each row of the few on the one side looks up its own.
		"enable_hashjoin":  "off",
		"enable_mergejoin": "off",

		// Every statement has one good plan, whatever its parameters: to weigh it
		// against a new one at each call costs more than most calls do.
		"plan_cache_mode": "force_generic_plan",

		// Compiling a plan that touches a handful of rows only adds latency.
		"jit": "off",
	})
	if cc.RuntimeParams["application_name"] == "" {
		cc.RuntimeParams["application_name"] = "acmeserver"
	}
	return durable(cc.RuntimeParams)
}

// durable has commits wait for the disk, but those that say they need not (see
// unhurried): no certificate leaves whose row a crash could forget. The URL may ask
// for more or less of standbys, such as remote_apply or local.
func durable(parameters map[string]string) error {
	const name = "synchronous_commit"
	switch parameters[name] {
	case "":
		parameters[name] = "on"
	case "off", "false", "no", "0":
		return fmt.Errorf("database URL: %s=%s: what was answered would be forgotten in a crash; want on, remote_apply, remote_write or local",
			name, parameters[name])
	}
	return nil
}

// secure makes every host of the configuration one whose certificate is
// verified, where there are roots to verify it against.
func secure(c *pgconn.Config, rootCAs []byte) error {
	if len(rootCAs) == 0 {
		return nil
	}
	roots, err := checkRoots(rootCAs)
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.Host, "/") {
		return errors.New("database URL: a Unix socket has no certificate to verify against the root certificates given")
	}
	c.TLSConfig = verified(c.TLSConfig, c.Host, roots)
	// sslmode "prefer", the default, lists each host twice: with TLS and without.
	seen := map[string]bool{address(c.Host, c.Port): true}
	fallbacks := c.Fallbacks[:0]
	for _, f := range c.Fallbacks {
		if seen[address(f.Host, f.Port)] {
			continue
		}
		seen[address(f.Host, f.Port)] = true
		f.TLSConfig = verified(f.TLSConfig, f.Host, roots)
		fallbacks = append(fallbacks, f)
	}
	c.Fallbacks = fallbacks
	return nil
}

// checkRoots returns the pool of the certificates in PEM.
func checkRoots(pem []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("database root certificates: no certificate in PEM")
	}
	return roots, nil
}

// address names a host and port.
func address(host string, port uint16) string { return fmt.Sprintf("%s:%d", host, port) }

// verified returns a TLS configuration that verifies the chain and the name of
// the host, and presents the client's certificate of old, where there was one.
func verified(old *tls.Config, host string, roots *x509.CertPool) *tls.Config {
	c := &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}
	if old != nil {
		c.Certificates = old.Certificates
	}
	return c
}

// checkKeys refuses a URL that has other keys than urlKeys, before what they say is
// done.
func checkKeys(url string) error {
	_, err := pgconn.ParseConfigWithOptions(url, pgconn.ParseConfigOptions{ConnStringAllowedKeys: urlKeys()})
	if err == nil || !strings.Contains(err.Error(), "ConnStringAllowedKeys") {
		return urlError(err)
	}
	// What is not the name of a key may be a part of a password.
	key := "one of its keys"
	for _, known := range []string{
		"passfile", "pool_max_conns", "service", "servicefile", "sslcert", "sslcertmode", "sslkey", "sslpassword", "sslrootcert",
	} {
		if strings.Contains(err.Error(), strconv.Quote(known)) {
			key = known
		}
	}
	return fmt.Errorf("database URL: %s is not for a URL to say, which has %s; "+
		"the certificates to verify the database against are given beside it", key, strings.Join(urlKeys(), ", "))
}

// urlError says what is wrong with a URL. Where it could not be parsed, nothing of
// it is repeated: any part might be one of the password.
func urlError(err error) error {
	var parse *pgconn.ParseConfigError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &parse):
		return fmt.Errorf("database URL: %w", err)
	}
	_, what, _ := strings.Cut(parse.Error(), "`: ") // after the URL, its password masked
	if what == "" || strings.HasPrefix(what, "failed to parse as") {
		return errors.New("database URL: neither a URI (postgresql://user:password@host:port/database, " +
			"with every special character of the password percent-encoded) nor keyword=value pairs")
	}
	return fmt.Errorf("database URL: %s", what)
}
