package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/nonce"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
	"github.com/acme-ca/acme-ca-operator/acme/validation"
)

// store is where a service keeps its state: acme/postgres, or acmetest in memory.
type store interface {
	server.Store
	validation.Queue
	nonce.KeySource
	ratelimit.Source
	// RateLimitPolicy returns the policy of limits in force.
	RateLimitPolicy(ctx context.Context) (acme.RateLimitPolicy, error)
	// RegisterIssuer records the issuing certificate and its chains, before the
	// first certificate of it.
	RegisterIssuer(ctx context.Context, issuer *acme.Issuer) error
}

// service is a server of one configuration; run makes the parts and lets them meet.
type service struct {
	config   *config.Config
	store    store
	keys     authorityKeys
	external server.ExternalAccounts
	// limiter enforces the policy of limits of the store; nil for no limits.
	limiter  *ratelimit.Limiter
	log      *slog.Logger
	registry *prometheus.Registry
	// listener and distribution are those of ACME and of HTTP, where they are open already.
	listener, distribution net.Listener
	// ready is called once the server listens, with nothing; may be nil.
	ready func() error
}

// run serves until ctx ends. The kubelet is answered from the start; clients once
// the store could be asked: a database that starts later than its server is no
// reason to restart the server.
func (s *service) run(ctx context.Context) error {
	authority, err := s.authority()
	if err != nil {
		return err
	}
	worker, err := s.worker()
	if err != nil {
		return err
	}
	ops := server.NewOps(s.store)
	opsFaces, err := listen(ctx, []face{{name: "ops", address: s.config.Listen.Ops, handler: ops.Handler(s.registry)}})
	if err != nil {
		return err
	}
	// What runs behind the requests ends after the last of them.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	g.Go(func() error {
		return serveFaces(background, s.log, shutdown{timeout: s.config.ShutdownTimeout.Duration}, opsFaces)
	})
	err = s.serveClients(ctx, authority, worker, ops, func(run func(context.Context) error) {
		g.Go(func() error { return run(background) })
	})
	stop()
	return errors.Join(err, g.Wait())
}

// serveClients waits for the store, starts what works behind the requests, and
// serves until ctx ends.
func (s *service) serveClients(ctx context.Context, authority *issuance.Authority, worker *validation.Worker, ops *server.Ops, start func(func(context.Context) error)) error {
	sealer := s.awaitStore(ctx, authority)
	if sealer == nil { // told to stop while it waited
		return nil
	}
	handler, err := s.server(authority, sealer, worker)
	if err != nil {
		return err
	}
	own, err := issuance.NewServerCertificate(issuance.ServerCertificateConfig{Authority: authority, Hosts: s.hosts(), Logger: s.log})
	if err != nil {
		return err
	}
	faces, err := listen(ctx, []face{
		{name: "acme", listener: s.listener, address: s.config.Listen.ACME, handler: handler, tls: &tls.Config{GetCertificate: own.GetCertificate, MinVersion: tls.VersionTLS12}},
		{name: "http", listener: s.distribution, address: s.config.Listen.HTTP, handler: handler.Distribution()},
	})
	if err != nil {
		return err
	}
	ops.Open()
	start(worker.Run)
	start(handler.RunCRLs)
	if s.limiter != nil {
		start(func(ctx context.Context) error {
			s.limiter.Run(ctx, s.store, replicaName(), func(err error) { s.log.Warn("rate limit policy", "error", err) })
			return nil
		})
	}
	start(func(ctx context.Context) error {
		sealer.Run(ctx, func(err error) { s.log.Warn("nonce keys", "error", err) })
		return nil
	})
	if s.ready != nil {
		if err := s.ready(); err != nil {
			return err
		}
	}
	return serveFaces(ctx, s.log, shutdown{
		drain: ops.Drain, delay: s.config.ShutdownDelay.Duration, timeout: s.config.ShutdownTimeout.Duration,
	}, faces)
}

// authority returns the authority that signs.
func (s *service) authority() (*issuance.Authority, error) {
	c := issuance.Config{
		Chain: s.keys.chain, Roots: s.keys.roots, Alternates: s.keys.alternates, Signer: s.keys.signer,
		DefaultProfile: s.config.DefaultProfile(), BaseURL: s.config.DistributionURL,
		MaxNames: s.config.MaxIdentifiers, Lint: issuance.Lint(s.config.CertificateAuthority.Lint), Logger: s.log,
	}
	for _, p := range s.config.Profiles {
		c.Profiles = append(c.Profiles, profileOf(p))
	}
	a, err := issuance.New(c)
	if err != nil {
		return nil, fmt.Errorf("certificateAuthority: %w", err)
	}
	return a, nil
}

// profileOf translates a profile.
func profileOf(p config.Profile) issuance.Profile {
	out := issuance.Profile{
		Name: p.Name, Description: p.Description, Lifetime: p.Lifetime.Duration,
		CommonName: p.CommonName, KeyEncipherment: p.KeyEncipherment,
	}
	usages := map[config.Usage]x509.ExtKeyUsage{config.ServerAuth: x509.ExtKeyUsageServerAuth, config.ClientAuth: x509.ExtKeyUsageClientAuth}
	for _, u := range p.Usages {
		out.Usages = append(out.Usages, usages[u])
	}
	return out
}

// storeRetry is how often a store that cannot be asked yet is tried at the start.
const storeRetry = time.Second

// awaitStore does what must be done in the store before the first request, and
// waits for a store that cannot be asked yet: a database that starts later than
// the server is no reason for a crash loop. It returns nil where ctx ends before.
func (s *service) awaitStore(ctx context.Context, authority *issuance.Authority) *nonce.Sealer {
	for {
		sealer, err := s.prepareStore(ctx, authority)
		if err == nil {
			return sealer
		}
		s.log.Warn("waiting for the database", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(storeRetry):
		}
	}
}

// prepareStore records the issuer, and fetches the policy of limits and the nonce keys.
func (s *service) prepareStore(ctx context.Context, authority *issuance.Authority) (*nonce.Sealer, error) {
	if err := s.store.Ping(ctx); err != nil {
		return nil, err
	}
	if err := s.store.RegisterIssuer(ctx, authority.Issuer()); err != nil {
		return nil, err
	}
	if s.limiter != nil { // before the first request: by another policy it might be served
		policy, err := s.store.RateLimitPolicy(ctx)
		if err != nil {
			return nil, err
		}
		s.limiter.Enforce(policy)
	}
	return nonce.New(ctx, nonce.Config{Keys: s.store})
}

// worker returns the worker of the validation queue. A trusting server has one
// too: it may have orders of a time when it was none.
func (s *service) worker() (*validation.Worker, error) {
	v := &s.config.Validation
	networks, err := networksOf(v.Networks)
	if err != nil {
		return nil, err
	}
	c := validation.Config{
		Queue: s.store, Resolvers: v.Resolvers, Networks: networks,
		HTTP01Port: v.HTTP01Port, TLSALPN01Port: v.TLSALPN01Port, Logger: s.log, Registerer: s.registry,
		CAAIdentities:      s.config.Directory.CAAIdentities,
		AuthorizationReuse: s.config.Lifetimes.AuthorizationReuse.Duration,
	}
	for _, base := range s.config.URLs {
		c.AccountURLs = append(c.AccountURLs, base+server.AccountPath)
		c.AccountHashes = append(c.AccountHashes, base+server.AccountHashPath)
	}
	if s.limiter != nil {
		c.Limits = s.limiter
	}
	return validation.New(c)
}

// networksOf translates the networks that validators may dial.
func networksOf(n config.Networks) (out validation.Networks, err error) {
	if out.Allow, err = prefixesOf("validation.networks.allow", n.Allow); err != nil {
		return out, err
	}
	out.Deny, err = prefixesOf("validation.networks.deny", n.Deny)
	return out, err
}

// namesOf translates what may be ordered.
func namesOf(i config.Identifiers) (out server.NamePolicy, err error) {
	out = server.NamePolicy{AllowDNS: i.DNS.Allow, DenyDNS: i.DNS.Deny, MaxLabels: i.MaxLabels, MaxRepeats: i.MaxRepeats}
	if out.AllowIP, err = prefixesOf("identifiers.ip.allow", i.IP.Allow); err != nil {
		return out, err
	}
	out.DenyIP, err = prefixesOf("identifiers.ip.deny", i.IP.Deny)
	return out, err
}

// prefixesOf translates networks in CIDR notation.
func prefixesOf(field string, cidrs []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range cidrs {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// server returns the ACME server.
func (s *service) server(authority *issuance.Authority, sealer *nonce.Sealer, worker *validation.Worker) (*server.Server, error) {
	c := server.Config{
		Store: s.store, Nonces: sealer, Issuer: authority, Validator: worker, ValidationLease: validation.Lease,
		URLs: s.config.URLs, Trusted: s.config.Validation.Mode == config.Trusted, ExternalAccounts: s.external,
		OrderLifetime: s.config.Lifetimes.Order.Duration, MaxIdentifiers: s.config.MaxIdentifiers,
		AuthorizationReuse: s.config.Lifetimes.AuthorizationReuse.Duration,
		Logger:             s.log, Registerer: s.registry,
		Meta: server.Meta{
			RateLimits:     s.config.Directory.RateLimits,
			TermsOfService: s.config.Directory.TermsOfService, Website: s.config.Directory.Website,
			CAAIdentities: s.config.Directory.CAAIdentities,
		},
	}
	var err error
	if c.Names, err = namesOf(s.config.Identifiers); err != nil {
		return nil, err
	}
	if len(s.config.Directory.CAAIdentities) > 0 {
		c.CAA = worker
	}
	if s.limiter != nil {
		c.Limits, c.Flood = s.limiter, ratelimit.NewFlood(s.limiter)
	}
	for _, t := range s.config.Validation.Challenges {
		c.Challenges = append(c.Challenges, acme.ChallengeType(t))
	}
	return server.New(c)
}

// hosts returns the names of the server's own certificate.
func (s *service) hosts() []string {
	var hosts []string
	for _, text := range s.config.URLs {
		if u, err := url.Parse(text); err == nil { // the config is validated
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// replicaName names this process among the replicas: by its pod, which is the
// host's name in it.
func replicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unnamed"
	}
	if pid := os.Getpid(); pid != 1 { // no container of its own: others may be on this host
		return fmt.Sprintf("%s/%d", host, pid)
	}
	return host
}
