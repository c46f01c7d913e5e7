package issuance

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Profile is a kind of certificate (draft-ietf-acme-profiles).
type Profile struct {
	// Name is what orders ask for it by.
	Name string
	// Description is shown in the directory.
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
		byName[p.Name] = p
	}
	if _, ok := byName[fallback]; !ok {
		return nil, "", fmt.Errorf("the default profile %q is not among the profiles", fallback)
	}
	return byName, fallback, nil
}
