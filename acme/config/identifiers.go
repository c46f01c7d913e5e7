package config

import (
	"fmt"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Identifiers says what may be ordered. What is denied is denied whatever is
// allowed; where anything is allowed, all else is denied.
type Identifiers struct {
	DNS Names    `json:"dns,omitzero"`
	IP  Networks `json:"ip,omitzero"`
	// MaxLabels bounds the labels of a name, against clients that order
	// www.www.www.… for whatever they are asked for; default 10.
	MaxLabels int `json:"maxLabels,omitempty"`
	// MaxRepeats bounds how often a label, or several together, may stand in a row in
	// a name, for the same reason; default 2.
	MaxRepeats int `json:"maxRepeats,omitempty"`
}

// Names are patterns of domain names: a name, or `*.` and a name for all names
// below it at any depth.
type Names struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

// ExternalAccounts are the keys of external account binding (RFC 8555 §7.3.4).
type ExternalAccounts struct {
	// Required refuses accounts without a binding.
	Required bool `json:"required,omitempty"`
	// KeysFile is a file with a key of at least 16 octets, in base64url, for each
	// key identifier: a YAML mapping.
	KeysFile string `json:"keysFile,omitempty"`
	// KeysDirectory is a directory with such a key in a file named by each key
	// identifier, as a volume of Secrets is. Files that begin with a dot are none.
	KeysDirectory string `json:"keysDirectory,omitempty"`
}

func (i Identifiers) validate(f *faults) {
	for _, l := range []struct {
		path     string
		patterns []string
	}{{"identifiers.dns.allow", i.DNS.Allow}, {"identifiers.dns.deny", i.DNS.Deny}} {
		for n, pattern := range l.patterns {
			path := fmt.Sprintf("%s[%d]", l.path, n)
			if id, err := acme.ParseIdentifier(string(acme.DNS), pattern); err != nil || id.Value != pattern {
				f.add(path, "%q is not a pattern: write a domain name in lower case, or *. and one", pattern)
			}
			once(f, path, pattern, l.patterns[:n])
		}
	}
	for n, cidr := range i.IP.Allow {
		validateNetwork(f, fmt.Sprintf("identifiers.ip.allow[%d]", n), cidr)
	}
	for n, cidr := range i.IP.Deny {
		validateNetwork(f, fmt.Sprintf("identifiers.ip.deny[%d]", n), cidr)
	}
	between(f, "identifiers.maxLabels", i.MaxLabels, 1, 127)
	between(f, "identifiers.maxRepeats", i.MaxRepeats, 1, 127)
}

func (e ExternalAccounts) validate(f *faults) {
	if e.Required && e.KeysFile == "" && e.KeysDirectory == "" {
		f.add("externalAccounts.keysFile", "is missing: where accounts need a binding, name the file with the keys, or a keysDirectory")
	}
}
