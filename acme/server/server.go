// Package server speaks ACME over HTTP: RFC 8555 with its extensions, one file
// per endpoint.
//
// A request takes four hops: the route table below says how it is
// authenticated and which endpoint has it; handle.go and jws.go turn it into a
// *request, or into a problem; the endpoint decides; one method of the [Store]
// does it, in one transaction. Endpoints return what to answer; handle.go alone
// writes it.
//
// The package promises that every answer to a POST carries a fresh nonce, that
// objects are shown to their account only, and that no text of an internal error
// leaves. It does not know how state is kept, how control is proved, or how
// certificates are signed: those are the interfaces of store.go.
package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Config is what a [Server] needs. Store, Nonces, Issuer and URLs are required,
// and Validator unless Trusted.
type Config struct {
	Store     Store
	Nonces    Nonces
	Issuer    Issuer
	Validator Validator
	// CAA is asked again about proofs that are old; default not.
	CAA CAAChecker
	// Limits tells what requests owe; default nothing.
	Limits Limits
	// Flood guards against floods; default not.
	Flood FloodGuard

	// URLs are the base URLs (https://host[:port]) that clients reach the server
	// by; the first is canonical.
	URLs []string
	// Meta is the directory's metadata.
	Meta Meta
	// Trusted makes every authorization valid from the start: the account is
	// trusted, control is not proved. Only the hosts of URLs are not issued for.
	Trusted bool
	// Challenges lists the challenge types offered; default
	// [acme.DefaultChallenges]. dns-persist-01 needs Meta.CAAIdentities.
	Challenges []acme.ChallengeType
	// Names says which identifiers may be ordered; default all.
	Names NamePolicy
	// ExternalAccounts are the external account binding keys.
	ExternalAccounts ExternalAccounts
	// MaxIdentifiers bounds the identifiers of an order; default 100.
	MaxIdentifiers int
	// AuthorizationReuse is how old a valid authorization may be that a new order
	// uses again, so that its identifier is not proved once more; 0 for never.
	AuthorizationReuse time.Duration
	// OrderLifetime is the time from newOrder to finalize; default a week.
	OrderLifetime time.Duration
	// ValidationWait is how long the answer to a challenge waits for the result,
	// so that most clients need not poll; default 2 s.
	ValidationWait time.Duration
	// ValidationLease is how long a replica may be silent on a validation that it
	// took before another takes over; default 30 s.
	ValidationLease time.Duration
	// RequestTimeout bounds the work on one request; default 30 s.
	RequestTimeout time.Duration
	// MaxRequests bounds how many requests are worked on at once: one more is told
	// to come back (503), before it costs anything. Default 512, which is half a
	// second of work for a small replica: a client is better told so than left
	// waiting. Those that only wait for a client or for a validation do not count.
	MaxRequests int

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Now is the clock; default [time.Now].
	Now func() time.Time
}

// Meta is the metadata of the directory (RFC 8555 §7.1.1) that an operator chooses.
type Meta struct {
	TermsOfService string
	Website        string
	// CAAIdentities are shown where CAA records are obeyed: [Config] has CAA then.
	CAAIdentities []string
	// RateLimits is where the limits are explained, for whoever meets one; it is
	// not in the directory, but linked from problems of type rateLimited.
	RateLimits string
}

// Server is the ACME server. It is safe for concurrent use and has no state of
// its own but caches, of what does not change while it runs and of what the store
// makes sure of: any number of replicas may share a Store.
type Server struct {
	config  Config
	bases   []base
	metrics *metrics
	mux     *http.ServeMux
	issuers sync.Map // acme.IssuerID → *servedIssuer
	// accounts remembers accounts with their keys. Whether they are still so is for
	// the store to say ([acme.Proof]).
	accounts *lru.Cache[acme.ID, rememberedAccount]
	crls     crlCache
	// acme and distribution bound the requests of each face, so that neither is
	// turned away for those of the other.
	acme, distribution gate
	// caaTurns has room for the requests that may look CAA records up at once.
	caaTurns chan struct{}
}

// authentication is how a route's requests prove who they are from.
type authentication int

const (
	anyone    authentication = iota // GET or HEAD, no JWS
	public                          // as anyone, or POST-as-GET by a valid account (RFC 8555 §6.3)
	byKey                           // JWS with jwk: whoever holds the key (RFC 8555 §6.2)
	byAccount                       // JWS with kid: a valid account
	byReader                        // as byAccount, with POST-as-GET alone
	byEither                        // JWS with kid or jwk: revokeCert (RFC 8555 §7.6)
)

// route is one row of the route table.
type route struct {
	path   string // a pattern of net/http, without method
	auth   authentication
	handle func(*Server, *request) (*response, error)
	// provable says that the endpoint needs no more of the account than its ID, and
	// hands the proof to the store.
	provable bool
}

const (
	// AccountPath is what stands between a base URL and an account's ID in its URL.
	AccountPath = "/account/"
	// AccountHashPath is what stands between a base URL and the hash that stands for
	// an account in records of dns-persist-01. Nothing is served there.
	AccountHashPath = "/account-hash/"
)

// The paths of the resources. Links are made from the same constants.
const (
	directoryPath  = "/directory"
	newNoncePath   = "/new-nonce"
	newAccountPath = "/new-account"
	newOrderPath   = "/new-order"
	newAuthzPath   = "/new-authz"
	keyChangePath  = "/key-change"
	revokeCertPath = "/revoke-cert"
	renewalPath    = "/renewal-info"
	accountPath    = AccountPath
	orderPath      = "/order/"
	ordersSuffix   = "/orders"
	finalizeSuffix = "/finalize"
	authzPath      = "/authorization/"
	challengePath  = "/challenge/"
	certPath       = "/certificate/"
	issuerPath     = "/issuer/"
	crlPath        = "/crl/"
)

// routes is the whole of what is served to ACME clients.
var routes = []route{
	{directoryPath, public, (*Server).directory, false},
	{newNoncePath, public, (*Server).newNonce, false},
	{newAccountPath, byKey, (*Server).newAccount, false},
	{newOrderPath, byAccount, (*Server).newOrder, true},
	{newAuthzPath, byAccount, (*Server).newAuthz, false},
	{keyChangePath, byAccount, (*Server).keyChange, false},
	{revokeCertPath, byEither, (*Server).revokeCert, false},
	{renewalPath + "/{renewal}", anyone, (*Server).renewalInfo, false},
	{accountPath + "{id}", byAccount, (*Server).account, false},
	{accountPath + "{id}" + ordersSuffix, byReader, (*Server).orders, false},
	{orderPath + "{id}", byReader, (*Server).order, true},
	{orderPath + "{id}" + finalizeSuffix, byAccount, (*Server).finalize, true},
	{authzPath + "{id}", byAccount, (*Server).authorization, true},
	{challengePath + "{id}/{type}", byAccount, (*Server).challenge, true},
	{certPath + "{id}", byReader, (*Server).certificate, true},
	{certPath + "{id}/{chain}", byReader, (*Server).certificate, true},
}

// distribution is what is served in the clear to whoever verifies a certificate:
// it is signed itself, and a client that fetched it over TLS would need it first.
var distribution = []route{
	{issuerPath + "{issuer}", anyone, (*Server).issuer, false},
	{crlPath + "{issuer}", anyone, (*Server).crl, false},
}

// New returns a server.
func New(c Config) (*Server, error) {
	if c.Store == nil || c.Nonces == nil || c.Issuer == nil || (c.Validator == nil && !c.Trusted) {
		return nil, errors.New("a server needs a store, nonces, an issuer, and a validator unless it trusts its accounts")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	if c.Limits == nil {
		c.Limits = unlimited{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(c.Challenges) == 0 {
		c.Challenges = acme.DefaultChallenges
	}
	if slices.Contains(c.Challenges, acme.DNSPersist01) && len(c.Meta.CAAIdentities) == 0 {
		return nil, errors.New("dns-persist-01 needs caaIdentities: a record names the authority")
	}
	setDefault(&c.MaxIdentifiers, 100)
	setDefault(&c.OrderLifetime, 7*24*time.Hour)
	setDefault(&c.ValidationWait, 2*time.Second)
	setDefault(&c.ValidationLease, 30*time.Second)
	setDefault(&c.RequestTimeout, 30*time.Second)
	setDefault(&c.MaxRequests, 512)
	accounts, err := lru.New[acme.ID, rememberedAccount](rememberedAccounts)
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: c, accounts: accounts, crls: crlCache{wake: make(chan struct{}, 1)}, caaTurns: make(chan struct{}, caaRequests),
	}
	s.acme.most, s.distribution.most = int64(c.MaxRequests), maxDistribution
	s.metrics = newMetrics(c.Registerer, func() float64 { return float64(s.acme.inFlight.Load()) })
	for _, u := range c.URLs {
		b, err := newBase(u)
		if err != nil {
			return nil, err
		}
		s.bases = append(s.bases, b)
	}
	if len(s.bases) == 0 {
		return nil, errors.New("a server needs at least one base URL")
	}
	s.mux = s.muxOf(routes, &s.acme)
	return s, nil
}

// muxOf returns a multiplexer for a route table, whose requests go through a gate.
func (s *Server) muxOf(table []route, g *gate) *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range table {
		mux.Handle(r.path, s.handler(r, g))
	}
	mux.Handle("/", s.handler(route{path: "/", handle: (*Server).unknown}, g))
	return mux
}

// Distribution returns the handler for what certificates refer to by plain HTTP:
// issuing certificates and CRLs. Its requests do not count as those of ACME.
func (s *Server) Distribution() http.Handler { return s.muxOf(distribution, &s.distribution) }

// maxDistribution bounds how many requests for CRLs and issuing certificates are
// worked on at once: anybody sends them, and those that ask the store must leave its
// connections to ACME.
const maxDistribution = 64

// setDefault gives a field that was left out its default.
func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// newBase checks a base URL.
func newBase(text string) (base, error) {
	u, err := url.Parse(text)
	if err != nil {
		return base{}, fmt.Errorf("base URL: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" {
		return base{}, fmt.Errorf("base URL %q: want https://host or https://host:port", text)
	}
	return base{host: u.Host, name: u.Hostname(), url: text}, nil
}

// ServeHTTP answers ACME clients; it is meant to be served over TLS (RFC 8555 §6.1).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// unknown answers for every path that is not in the table.
func (s *Server) unknown(*request) (*response, error) {
	return nil, notFound("no such resource; the directory is at %s", directoryPath)
}

// notFound returns the problem for what is not there, or not the account's to see.
func notFound(format string, args ...any) *acme.Problem {
	p := acme.Problemf(acme.Malformed, format, args...)
	p.Status = http.StatusNotFound
	return p
}
