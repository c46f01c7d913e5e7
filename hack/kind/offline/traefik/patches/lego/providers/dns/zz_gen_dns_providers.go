// Package dns stands in for lego's list of 150 DNS providers, whose SDKs would take longer to compile than all the rest
// of Traefik; some of them are not published as modules at all.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v5/challenge"
)

// NewDNSChallengeProviderByName knows no provider.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("unrecognized DNS provider: %s", name)
}
