package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// devFlags are the flags of dev.
type devFlags struct {
	listen        string
	listenHTTP    string
	databaseURL   string
	mode          string
	http01Port    int
	tlsALPN01Port int
	dnsServer     string
	external      server.ExternalAccounts
	allowLoopback bool
	caaIdentities []string
	challenges    []string
	caOut         string
	limits        bool
}

// dev is a whole authority in one process: new keys at every start, and state in
// memory unless a database is named.
func dev(ctx context.Context, flags *flag.FlagSet, args []string) error {
	f := devFlags{external: server.ExternalAccounts{Keys: map[string][]byte{}}}
	flags.StringVar(&f.listen, "listen", "127.0.0.1:14000", "the `address` to serve ACME at (HTTPS)")
	flags.StringVar(&f.listenHTTP, "listen-http", "", "the `address` to serve the CRL and the issuing certificate at (HTTP); default a free port of the same host")
	flags.StringVar(&f.databaseURL, "database-url", "", "a Postgres connection `URI`; without it the state is in memory")
	flags.StringVar(&f.mode, "mode", "challenge", "challenge: control of identifiers is proved; trusted: it is not")
	flags.IntVar(&f.http01Port, "http01-port", 80, "the `port` that http-01 responders are dialled at")
	flags.IntVar(&f.tlsALPN01Port, "tlsalpn01-port", 443, "the `port` that tls-alpn-01 responders are dialled at")
	flags.StringVar(&f.dnsServer, "dns-server", "", "the `address` (host:port) of the DNS server to ask; default those of /etc/resolv.conf")
	flags.Func("external-account", "an external account, as `KID:BASE64URLKEY`; may be repeated", f.addExternalAccount)
	flags.BoolVar(&f.external.Required, "require-external-account", false, "refuse accounts without an external account binding")
	flags.BoolVar(&f.allowLoopback, "allow-loopback", false, "let validators dial addresses of this host")
	flags.Func("challenge", "a challenge `type` to offer; may be repeated; default http-01, dns-01 and tls-alpn-01", func(t string) error {
		f.challenges = append(f.challenges, t)
		return nil
	})
	flags.Func("caa-identity", "a `domain` that the authority goes by in CAA records, which are then checked; may be repeated", func(domain string) error {
		f.caaIdentities = append(f.caaIdentities, domain)
		return nil
	})
	flags.StringVar(&f.caOut, "ca-out", "", "the `file` to write the root certificate to, in PEM")
	flags.BoolVar(&f.limits, "rate-limits", false, "enforce the limits that a cluster's server has by default")
	if err := parse(flags, args); err != nil {
		return err
	}
	s, err := f.service(ctx)
	if err != nil {
		return err
	}
	if f.databaseURL == "" {
		s.store = acmetest.NewMemory()
	} else {
		db, err := f.database(ctx, s.log)
		if err != nil {
			return err
		}
		defer db.Close()
		s.store = db
	}
	s.ready = func() error { return f.announce(s) }
	return s.run(ctx)
}

// service returns the service that the flags stand for, which listens and has no store
// yet.
func (f *devFlags) service(ctx context.Context) (s *service, err error) {
	s = &service{log: newLogger(slog.LevelInfo), registry: newRegistry(), external: f.external}
	if f.limits {
		s.limiter = ratelimit.New(acme.RateLimitPolicy{})
	}
	if s.keys, err = newAuthority(); err != nil {
		return nil, err
	}
	var at, httpAt netip.AddrPort
	if s.listener, at, err = listenAt(ctx, f.listen); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	beside := net.JoinHostPort(at.Addr().String(), "0")
	if s.distribution, httpAt, err = listenAt(ctx, cmp.Or(f.listenHTTP, beside)); err != nil {
		return nil, fmt.Errorf("--listen-http: %w", err)
	}
	s.config, err = f.config(at, httpAt)
	return s, err
}

// listenAt listens at an address, and tells which it is.
func listenAt(ctx context.Context, address string) (net.Listener, netip.AddrPort, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	at, err := netip.ParseAddrPort(l.Addr().String())
	return l, at, err
}

// hostsAt returns the names by which clients of this host reach an address.
func hostsAt(at netip.AddrPort) []string {
	if at.Addr().IsUnspecified() || at.Addr().IsLoopback() {
		return []string{"127.0.0.1", "localhost"}
	}
	return []string{at.Addr().String()}
}

// addExternalAccount reads one --external-account.
func (f *devFlags) addExternalAccount(text string) error {
	kid, key, ok := strings.Cut(text, ":")
	raw, err := parseExternalKey(key)
	if !ok || kid == "" || err != nil {
		return errors.New("want KID:KEY, the key in base64url and of at least 16 octets")
	}
	f.external.Keys[kid] = raw
	return nil
}

// newAuthority makes a root and an intermediate that live as long as the process.
func newAuthority() (authorityKeys, error) {
	const lifetime = 10 * 365 * 24 * time.Hour
	root, rootKey, err := issuance.NewRoot(issuance.RootConfig{CommonName: "acmeserver dev root", Lifetime: lifetime})
	if err != nil {
		return authorityKeys{}, err
	}
	intermediate, key, err := issuance.NewIntermediate(root, rootKey, issuance.IntermediateConfig{CommonName: "acmeserver dev intermediate", Lifetime: lifetime / 2})
	if err != nil {
		return authorityKeys{}, err
	}
	return authorityKeys{chain: []*x509.Certificate{intermediate}, roots: []*x509.Certificate{root}, signer: key}, nil
}

// config returns the configuration that the flags stand for, with the addresses that
// ACME and HTTP are served at.
func (f *devFlags) config(at, httpAt netip.AddrPort) (*config.Config, error) {
	mode, ok := map[string]config.ValidationMode{"challenge": config.Challenge, "trusted": config.Trusted}[f.mode]
	if !ok {
		return nil, fmt.Errorf("--mode is %q; want challenge or trusted", f.mode)
	}
	c := &config.Config{
		Validation: config.Validation{Mode: mode, Challenges: f.challenges, HTTP01Port: f.http01Port, TLSALPN01Port: f.tlsALPN01Port},
		// Files of an authority that is made here, for the checks of a configuration only.
		CertificateAuthority: config.CertificateAuthority{CertificateFile: "-", KeyFile: "-", RootsFile: "-"},
		Database:             &config.Database{URLFile: "-"},
		Directory:            config.Directory{CAAIdentities: f.caaIdentities},
		DistributionURL:      "http://" + net.JoinHostPort(hostsAt(httpAt)[0], fmt.Sprint(httpAt.Port())),
	}
	for _, h := range hostsAt(at) {
		c.URLs = append(c.URLs, "https://"+net.JoinHostPort(h, fmt.Sprint(at.Port())))
	}
	if f.dnsServer != "" {
		c.Validation.Resolvers = []string{f.dnsServer}
	}
	if f.allowLoopback {
		c.Validation.Networks.Allow = []string{"127.0.0.0/8", "::1/128"}
	}
	c.SetDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	// One port is enough to try it out, and there is no kubelet to wait for.
	c.Listen = config.Listen{}
	c.ShutdownDelay = config.Duration{}
	return c, nil
}

// database migrates and opens the database that the flags name.
func (f *devFlags) database(ctx context.Context, log *slog.Logger) (*postgres.Store, error) {
	c := postgres.Config{URL: f.databaseURL, Logger: log}
	if err := postgres.Migrate(ctx, c); err != nil {
		return nil, fmt.Errorf("--database-url: %w", err)
	}
	db, err := postgres.New(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("--database-url: %w", err)
	}
	return db, nil
}

// announce writes the root and prints the directory URL, in this order: whoever
// reads the URL finds the file.
func (f *devFlags) announce(s *service) error {
	if f.caOut != "" {
		if err := os.WriteFile(f.caOut, issuance.EncodeCertificates(s.keys.roots...), 0o644); err != nil { //nolint:gosec // a certificate is public
			return fmt.Errorf("--ca-out: %w", err)
		}
	}
	_, err := fmt.Println(s.config.URLs[0] + "/directory")
	return err
}
