package config

import (
	"fmt"
	"regexp"
	"time"
)

// profileName keeps names readable where they are shown: in a directory, a
// command line and a metric's label.
var profileName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// The bounds of a profile's lifetime. A certificate begins five minutes before
// it is made, so that one much shorter than the lower bound would be spent by the
// time it is installed. The upper one is a root's: more is a slip of the unit.
const (
	minLifetime = 15 * time.Minute
	maxLifetime = 10 * 366 * 24 * time.Hour
)

// validateProfiles checks the profiles, of which there is at least one.
func validateProfiles(f *faults, profiles []Profile) {
	names := make([]string, 0, len(profiles))
	preferred := -1
	for i, p := range profiles {
		path := fmt.Sprintf("profiles[%d]", i)
		if !profileName.MatchString(p.Name) {
			f.add(path+".name", "%q cannot name a profile: write up to 63 of a-z, 0-9, ., _ and -, such as tlsserver", p.Name)
		}
		once(f, path+".name", p.Name, names)
		names = append(names, p.Name)
		if p.Default && preferred >= 0 {
			f.add(path+".default", "profiles[%d] is the default already: only one can be", preferred)
		}
		if p.Default {
			preferred = i
		}
		within(f, path+".lifetime", p.Lifetime, minLifetime, maxLifetime)
		for j, u := range p.Usages {
			path := fmt.Sprintf("%s.usages[%d]", path, j)
			oneOf(f, path, u, ServerAuth, ClientAuth)
			once(f, path, u, p.Usages[:j])
		}
	}
}
