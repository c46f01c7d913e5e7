package render

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"

	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// Where the servers' container has its files.
const (
	authorityDirectory  = "/etc/acmeserver/ca"
	databaseDirectory   = "/etc/acmeserver/database"
	alternatesDirectory = "/etc/acmeserver/alternate-chains"
	// externalAccountsDirectory has a file for each external account.
	externalAccountsDirectory = "/etc/acmeserver/external-accounts"
)

// The directory of the servers' configuration file, and its name there.
var configDirectory, configKey = path.Dir(config.Path), path.Base(config.Path)

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
			Lint:            config.Lint(s.Spec.CA.Lint),
		},
		Validation:       validation(s.Spec.Validation, p),
		Identifiers:      identifiers(s.Spec.Identifiers),
		MaxIdentifiers:   int(s.Spec.MaxIdentifiers),
		ExternalAccounts: externalAccountKeys(s),
		Profiles:         profiles(s.Spec.Profiles),
		Directory:        directory(s.Spec.Directory),
		Lifetimes:        lifetimes(s.Spec.Lifetimes),
	}
	if name, _ := DatabaseRootCAs(s); name != "" {
		c.Database.RootCAsFile = databaseDirectory + "/" + RootsKey
	}
	if name, _ := AlternateChains(s); name != "" {
		c.CertificateAuthority.AlternateChainsFile = alternatesDirectory + "/" + AlternateChainsKey
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

// identifiers returns what may be ordered.
func identifiers(i *v1alpha1.IdentifiersSpec) (out config.Identifiers) {
	if i == nil {
		return out
	}
	out.MaxLabels, out.MaxRepeats = int(i.MaxLabels), int(i.MaxRepeats)
	if i.DNS != nil {
		out.DNS = config.Names{Allow: texts(i.DNS.Allow), Deny: texts(i.DNS.Deny)}
	}
	if i.IP != nil {
		out.IP = config.Networks{Allow: texts(i.IP.Allow), Deny: texts(i.IP.Deny)}
	}
	return out
}

// externalAccountKeys returns who may make accounts.
func externalAccountKeys(s *v1alpha1.AcmeServer) (out config.ExternalAccounts) {
	if externalAccounts(s) != nil {
		out.KeysDirectory = externalAccountsDirectory
	}
	if e := s.Spec.ExternalAccounts; e != nil {
		out.Required = e.Required
	}
	return out
}

// directory returns what the directory tells clients.
func directory(d *v1alpha1.DirectorySpec) config.Directory {
	if d == nil {
		return config.Directory{RateLimits: rateLimitsPage}
	}
	return config.Directory{
		TermsOfService: string(d.TermsOfService), Website: string(d.Website), CAAIdentities: d.CAAIdentities,
		RateLimits: cmp.Or(string(d.RateLimits), rateLimitsPage),
	}
}

// lifetimes returns how long what the servers make is good for.
func lifetimes(l *v1alpha1.LifetimesSpec) (out config.Lifetimes) {
	if l != nil && l.Order != nil {
		out.Order = config.Duration{Duration: l.Order.Duration}
	}
	if l != nil && l.AuthorizationReuse != nil {
		out.AuthorizationReuse = config.Duration{Duration: l.AuthorizationReuse.Duration}
	}
	return out
}

// profiles returns the kinds of certificate.
func profiles(all []v1alpha1.Profile) []config.Profile {
	var out []config.Profile
	for _, p := range all {
		profile := config.Profile{
			Name: p.Name, Description: p.Description, Default: p.Default,
			Lifetime:   config.Duration{Duration: p.Lifetime.Duration},
			CommonName: p.CommonName, KeyEncipherment: p.KeyEncipherment,
		}
		for _, u := range p.Usages {
			profile.Usages = append(profile.Usages, config.Usage(u))
		}
		out = append(out, profile)
	}
	return out
}

// texts returns networks or patterns as the configuration has them.
func texts[T ~string](all []T) []string {
	var out []string
	for _, t := range all {
		out = append(out, string(t))
	}
	return out
}
