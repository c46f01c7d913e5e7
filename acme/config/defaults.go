package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// SetDefaults gives every field that is zero its default. It is the one place
// where they are; [Parse] calls it.
func (c *Config) SetDefaults() {
	setDefault(&c.Listen.ACME, ":8443")
	setDefault(&c.Listen.HTTP, ":8080")
	setDefault(&c.Listen.Ops, ":9090")
	if len(c.URLs) > 0 {
		if u, err := url.Parse(c.URLs[0]); err == nil && checkHost(u.Hostname()) == "" {
			setDefault(&c.DistributionURL, "http://"+strings.TrimSuffix(u.Host, ":"+u.Port()))
		}
	}
	if c.Database != nil {
		setDefault(&c.Database.Schema, "acme")
		setDefault(&c.Database.MaxConnections, 10)
	}
	setDefault(&c.CertificateAuthority.Lint, LintWarn)
	setDefault(&c.Validation.Mode, Challenge)
	if len(c.Validation.Challenges) == 0 {
		for _, t := range acme.DefaultChallenges {
			c.Validation.Challenges = append(c.Validation.Challenges, string(t))
		}
	}
	setDefault(&c.Validation.HTTP01Port, 80)
	setDefault(&c.Validation.TLSALPN01Port, 443)
	if len(c.Profiles) == 0 {
		c.Profiles = BuiltInProfiles()
	}
	for i := range c.Profiles {
		if len(c.Profiles[i].Usages) == 0 {
			c.Profiles[i].Usages = []Usage{ServerAuth}
		}
	}
	setDefault(&c.Lifetimes.Order, Duration{7 * 24 * time.Hour})
	setDefault(&c.Identifiers.MaxLabels, 10)
	setDefault(&c.Identifiers.MaxRepeats, 2)
	setDefault(&c.MaxIdentifiers, 100)
	setDefault(&c.ShutdownDelay, Duration{10 * time.Second})
	setDefault(&c.ShutdownTimeout, Duration{20 * time.Second})
}

// setDefault gives a field that is zero its default.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// BuiltInProfiles returns the profiles of a server that configures none; the
// first is the default. docs/profiles.md describes them.
func BuiltInProfiles() []Profile {
	return []Profile{{
		Name:        "tlsserver",
		Description: "TLS servers, for 90 days",
		Default:     true,
		Lifetime:    Duration{90 * 24 * time.Hour},
		Usages:      []Usage{ServerAuth},
	}, {
		Name:        "shortlived",
		Description: "TLS servers that renew every few days, for 160 hours",
		Lifetime:    Duration{160 * time.Hour}, // as long as that of the same name at Let's Encrypt
		Usages:      []Usage{ServerAuth},
	}, {
		Name:        "clientserver",
		Description: "workloads that are both ends of mutual TLS, for 90 days",
		Lifetime:    Duration{90 * 24 * time.Hour},
		Usages:      []Usage{ServerAuth, ClientAuth},
	}}
}

// DefaultProfile returns the name of the first profile with Default true, or
// else of the first; empty where there is none.
func (c *Config) DefaultProfile() string {
	for _, p := range c.Profiles {
		if p.Default {
			return p.Name
		}
	}
	if len(c.Profiles) == 0 {
		return ""
	}
	return c.Profiles[0].Name
}
