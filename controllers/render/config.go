package render

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// Where the servers' container has its files.
const (
	configDirectory    = "/etc/acmeserver/config"
	authorityDirectory = "/etc/acmeserver/ca"
	databaseDirectory  = "/etc/acmeserver/database"
	configKey          = "config.yaml"
)

// rateLimitsPage is where clients that meet a limit are sent to (RFC 8555 §6.6).
const rateLimitsPage = "https://github.com/acme-ca/acme-ca-operator/blob/main/docs/ratelimits.md"

// Config returns the data of the servers' ConfigMap: the file of [config.Config].
// An error says which field of the AcmeServer the servers would refuse.
func Config(s *v1alpha1.AcmeServer, p Platform) (map[string]string, error) {
	c := &config.Config{
		URLs: urls(s, p),
		Database: &config.Database{
			URLFile: databaseDirectory + "/" + DatabaseURIKey,
			Schema:  s.Spec.Database.Schema,
		},
		CertificateAuthority: config.CertificateAuthority{
			CertificateFile: authorityDirectory + "/tls.crt",
			KeyFile:         authorityDirectory + "/tls.key",
			RootsFile:       authorityDirectory + "/" + RootsKey,
		},
		Directory:  config.Directory{RateLimits: rateLimitsPage},
		Validation: validation(s.Spec.Validation, p),
		Profiles:   profiles(s.Spec.Profiles),
	}
	if name, _ := DatabaseRootCAs(s); name != "" {
		c.Database.RootCAsFile = databaseDirectory + "/" + RootsKey
	}
	data, err := c.Marshal()
	if err != nil {
		return nil, err
	}
	// What the servers would refuse at their start is better told here.
	if _, err := config.Parse(data); err != nil {
		return nil, fmt.Errorf("the servers' configuration: %w", err)
	}
	return map[string]string{configKey: string(data)}, nil
}

// validation returns how control of an identifier is proved.
func validation(v v1alpha1.ValidationSpec, p Platform) config.Validation {
	out := config.Validation{Mode: config.ValidationMode(v.Mode)}
	for _, t := range v.Challenges {
		out.Challenges = append(out.Challenges, string(t))
	}
	if v.DNS != nil {
		out.Resolvers = v.DNS.Resolvers
	}
	if v.Networks != nil {
		out.Networks.Allow = texts(v.Networks.Allow)
		out.Networks.Deny = texts(v.Networks.Deny)
	}
	for _, address := range p.APIServer {
		one := netip.PrefixFrom(address, address.BitLen()).String()
		if !slices.Contains(out.Networks.Allow, one) && !slices.Contains(out.Networks.Deny, one) {
			out.Networks.Deny = append(out.Networks.Deny, one)
		}
	}
	return out
}

// profiles returns the kinds of certificate.
func profiles(all []v1alpha1.Profile) []config.Profile {
	var out []config.Profile
	for _, p := range all {
		profile := config.Profile{
			Name: p.Name, Description: p.Description, Default: p.Default,
			Lifetime: config.Duration{Duration: p.Lifetime.Duration},
		}
		for _, u := range p.Usages {
			profile.Usages = append(profile.Usages, config.Usage(u))
		}
		out = append(out, profile)
	}
	return out
}

// texts returns networks as the configuration has them.
func texts(networks []v1alpha1.CIDR) []string {
	var out []string
	for _, n := range networks {
		out = append(out, string(n))
	}
	return out
}
