// Package config is the file format of acmeserver: what stands in it, the
// defaults of what does not, and which field is wrong.
//
// It promises that a [Config] which [Read] returned can be served: what was left
// out has its default, and every value was checked. It does not open the files
// that it names, and knows neither the database nor Kubernetes:
// controllers/render writes the format, cmd/acmeserver reads it.
//
// The zero of a field stands for its default, so that a Config which is built in
// Go and one that is read from a file follow the same rule.
package config

// Path is where a server that the operator runs has its file.
const Path = "/etc/acmeserver/config/config.yaml"

// Config is the whole file, in YAML. Fields that are not of it are refused.
type Config struct {
	// Listen has the addresses to listen on.
	Listen Listen `json:"listen,omitzero"`
	// URLs are the base URLs that clients reach the server by, such as
	// https://internal.pki.svc. The first stands in certificates and logs; a
	// request is answered with links to the one that it came by. The server's own
	// certificate has the host of each.
	URLs []string `json:"urls"`
	// DistributionURL is where certificates say that the CRL and the issuing certificate
	// are, over plain HTTP (RFC 5280 §8); default the host of the first of URLs, at port
	// 80, from where listen.http is to be reached.
	DistributionURL string `json:"distributionURL,omitempty"`
	// Database is where the state is; without it the state is in memory (`dev` only).
	Database *Database `json:"database,omitempty"`
	// CertificateAuthority is what certificates are signed with.
	CertificateAuthority CertificateAuthority `json:"certificateAuthority"`
	// Validation tells how control of an identifier is proved.
	Validation Validation `json:"validation,omitzero"`
	// Identifiers says what may be ordered; default everything.
	Identifiers Identifiers `json:"identifiers,omitzero"`
	// ExternalAccounts are who may make accounts; default everybody.
	ExternalAccounts ExternalAccounts `json:"externalAccounts,omitzero"`
	// Profiles lists the kinds of certificate; the first with Default true, or else
	// the first, is the default. Empty: the built-in profiles.
	Profiles []Profile `json:"profiles,omitempty"`
	// Directory is the meta object of the directory (RFC 8555 §7.1.1).
	Directory Directory `json:"directory,omitzero"`
	// Lifetimes of what the server makes.
	Lifetimes Lifetimes `json:"lifetimes,omitzero"`
	// MaxIdentifiers bounds the identifiers of an order, and so the names of a
	// certificate; default 100.
	MaxIdentifiers int `json:"maxIdentifiers,omitempty"`
	// ShutdownDelay is how long the server goes on accepting connections after it
	// was told to stop, until load balancers have taken it out; default 10s.
	ShutdownDelay Duration `json:"shutdownDelay,omitzero"`
	// ShutdownTimeout bounds the wait for requests in flight after that; default 20s.
	ShutdownTimeout Duration `json:"shutdownTimeout,omitzero"`
}

// Listen has an address (host:port) for each of the server's three faces.
type Listen struct {
	ACME string `json:"acme,omitempty"` // HTTPS; default :8443
	HTTP string `json:"http,omitempty"` // CRLs and issuer certificates in the clear; default :8080
	Ops  string `json:"ops,omitempty"`  // /healthz /readyz /metrics, in the clear; default :9090
}

// Database is a connection to Postgres.
type Database struct {
	// URLFile is a file with a connection URI (postgresql://…), as a Secret
	// volume holds it.
	URLFile string `json:"urlFile"`
	// RootCAsFile is a PEM file with the roots that the server's certificate is
	// verified against (sslmode verify-full); optional.
	RootCAsFile string `json:"rootCAsFile,omitempty"`
	// Schema is the Postgres schema of this server; default acme.
	Schema string `json:"schema,omitempty"`
	// MaxConnections bounds the pool; default 10.
	MaxConnections int `json:"maxConnections,omitempty"`
}

// CertificateAuthority names PEM files.
type CertificateAuthority struct {
	// CertificateFile has the issuing certificate and those above it, without the root.
	CertificateFile string `json:"certificateFile"`
	// KeyFile has its private key.
	KeyFile string `json:"keyFile"`
	// AlternateChainsFile has other chains, one behind another, that clients may choose
	// (RFC 8555 §7.4.2): each begins with a certificate of the issuing key and subject
	// that another authority signed, as where a root is replaced; optional. Those that have
	// ended are left out.
	AlternateChainsFile string `json:"alternateChainsFile,omitempty"`
	// RootsFile has the root certificates that clients should trust.
	RootsFile string `json:"rootsFile"`
	// Lint says whether certificates are held against RFC 5280 before they leave.
	Lint Lint `json:"lint,omitempty"`
}

// Lint says what becomes of a certificate that a lint finds fault with.
type Lint string

// The ways to lint.
const (
	LintOff     Lint = "Off"     // no lint is run
	LintWarn    Lint = "Warn"    // faults of the first of each kind are logged; the default (docs/adr/0009)
	LintEnforce Lint = "Enforce" // faults are errors: the certificate does not leave
)

// ValidationMode says whether control is proved.
type ValidationMode string

// The validation modes.
const (
	Challenge ValidationMode = "Challenge" // by challenges; the default
	Trusted   ValidationMode = "Trusted"   // authorizations are valid from the start
)

// Validation tells how control of an identifier is proved.
type Validation struct {
	Mode ValidationMode `json:"mode,omitempty"`
	// Challenges lists the challenge types offered, of acme.ChallengeTypes; default
	// http-01, dns-01 and tls-alpn-01. dns-persist-01 needs directory.caaIdentities,
	// at most ten: its records name the authority.
	Challenges []string `json:"challenges,omitempty"`
	// Resolvers are DNS servers (host:port or host); default those of /etc/resolv.conf.
	Resolvers []string `json:"resolvers,omitempty"`
	Networks  Networks `json:"networks,omitzero"`
	// HTTP01Port and TLSALPN01Port are where responders are dialled; defaults 80
	// and 443. Others are for tests.
	HTTP01Port    int `json:"http01Port,omitempty"`
	TLSALPN01Port int `json:"tlsALPN01Port,omitempty"`
}

// Networks bounds what validators dial, in CIDR notation. The longest prefix
// that holds an address decides; deny wins over allow of the same length.
// Loopback, link-local and multicast addresses are denied unless named.
type Networks struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

// Profile is a kind of certificate (draft-ietf-acme-profiles).
type Profile struct {
	Name string `json:"name"`
	// Description is shown in the directory; default whom it is for, and how long.
	Description string `json:"description,omitempty"`
	Default     bool   `json:"default,omitempty"`
	// Lifetime is the longest validity, and that of orders which ask for none.
	Lifetime Duration `json:"lifetime"`
	// Usages are extended key usages; default serverAuth.
	Usages []Usage `json:"usages,omitempty"`
	// CommonName puts the first DNS name that fits (64 octets) in the subject, for
	// software that does not read subject alternative names. Default: no subject.
	CommonName bool `json:"commonName,omitempty"`
	// KeyEncipherment adds that key usage where the key is RSA, for TLS 1.2
	// without forward secrecy.
	KeyEncipherment bool `json:"keyEncipherment,omitempty"`
}

// Usage is an extended key usage (RFC 5280 §4.2.1.12).
type Usage string

// The usages that a profile may have.
const (
	ServerAuth Usage = "serverAuth"
	ClientAuth Usage = "clientAuth"
)

// Directory is the meta object of the directory.
type Directory struct {
	TermsOfService string `json:"termsOfService,omitempty"`
	Website        string `json:"website,omitempty"`
	// CAAIdentities are the domain names that the authority goes by in CAA records.
	// Where there are any, CAA records are obeyed (RFC 8659, RFC 8657).
	CAAIdentities []string `json:"caaIdentities,omitempty"`
	// RateLimits is a URL where the limits are explained, which the problems of
	// those who meet one link to; it is not shown in the directory.
	RateLimits string `json:"rateLimits,omitempty"`
}

// Lifetimes of what the server makes.
type Lifetimes struct {
	// Order is how long a client may take from newOrder to finalize; default 168h.
	Order Duration `json:"order,omitzero"`
	// AuthorizationReuse is how old a valid authorization may be that a new order
	// uses again, so that control is not proved once more; default 0s: never.
	AuthorizationReuse Duration `json:"authorizationReuse,omitzero"`
}
