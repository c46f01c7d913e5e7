package issuance

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Profile is a kind of certificate (draft-ietf-acme-profiles).
type Profile struct {
	// Name is what orders ask for it by.
	Name string
	// Description is shown in the directory; default whom it is for, and how long:
	// "TLS servers, for 6 days".
	Description string
	// Lifetime is the longest validity, and that of orders which ask for none. It
	// counts both ends, as RFC 5280 §4.1.2.5 does: a day is from 00:00:00 to 23:59:59.
	Lifetime time.Duration
	// Usages are the extended key usages; at least one.
	Usages []x509.ExtKeyUsage
	// CommonName puts the first DNS name of at most 64 octets in the subject.
	CommonName bool
	// KeyEncipherment adds that key usage where the key is RSA.
	KeyEncipherment bool
}

// indexProfiles checks the profiles and returns them by name, with the name of
// the default one.
func indexProfiles(profiles []Profile, fallback string) (map[string]Profile, string, error) {
	if len(profiles) == 0 {
		return nil, "", errors.New("there is no profile")
	}
	if fallback == "" {
		fallback = profiles[0].Name
	}
	byName := make(map[string]Profile, len(profiles))
	for _, p := range profiles {
		_, twice := byName[p.Name]
		switch {
		case p.Name == "":
			return nil, "", errors.New("a profile has no name")
		case twice:
			return nil, "", fmt.Errorf("two profiles are named %q", p.Name)
		case p.Lifetime <= backdate:
			return nil, "", fmt.Errorf("profile %q has a lifetime of %s: certificates begin %s before they are made", p.Name, p.Lifetime, backdate)
		case len(p.Usages) == 0:
			return nil, "", fmt.Errorf("profile %q has no extended key usage: one without any is good for everything", p.Name)
		}
		p.Description = cmp.Or(p.Description, p.describe())
		byName[p.Name] = p
	}
	if _, ok := byName[fallback]; !ok {
		return nil, "", fmt.Errorf("the default profile %q is not among the profiles", fallback)
	}
	return byName, fallback, nil
}

// describe says what a profile is that nobody has described: the directory must say
// something of each (draft-ietf-acme-profiles §3).
func (p *Profile) describe() string {
	server, client := slices.Contains(p.Usages, x509.ExtKeyUsageServerAuth), slices.Contains(p.Usages, x509.ExtKeyUsageClientAuth)
	whom := "other uses than TLS"
	switch {
	case server && client:
		whom = "both ends of mutual TLS"
	case server:
		whom = "TLS servers"
	case client:
		whom = "TLS clients"
	}
	return whom + ", for " + inWords(p.Lifetime)
}

// inWords writes a duration in the largest unit that it is a whole number of.
func inWords(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		switch n := d / unit.length; {
		case d%unit.length != 0:
		case n == 1:
			return "1 " + unit.name
		default:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}
