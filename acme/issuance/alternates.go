package issuance

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// AlternateChains returns the chains that stand one behind another, each with its root
// where it has one, but for those that have ended: a server must be able to start,
// whatever becomes of what no client has to choose. An error says which of them does not
// lead from what the issuing certificate signs to where it says: [New] refuses it, too.
func AlternateChains(issuer *x509.Certificate, certificates []*x509.Certificate, now time.Time) (chains [][]*x509.Certificate, err error) {
	id := acme.IssuerIDOf(issuer)
	isFirst := func(c *x509.Certificate) bool { return acme.IssuerIDOf(c) == id }
	rest := certificates
	for n := 1; len(rest) > 0; n++ {
		switch first := rest[0]; {
		case !isFirst(first):
			return nil, fmt.Errorf("an alternate chain begins with %s, which has not the key and the subject of %s", describe(first), describe(issuer))
		case !first.IsCA || !bytes.Equal(first.SubjectKeyId, issuer.SubjectKeyId):
			return nil, fmt.Errorf("an alternate chain begins with %s, which is not a CA certificate with the subject key identifier of the issuing one (%x)",
				describe(first), issuer.SubjectKeyId)
		}
		end := 1 + slices.IndexFunc(rest[1:], isFirst)
		if end == 0 {
			end = len(rest)
		}
		chain := slices.Clone(rest[:end])
		rest = rest[end:]
		if err := checkOrder(chain); err != nil {
			return nil, fmt.Errorf("alternate chain %d: %w", n, err)
		}
		if now.After(EndOf(chain)) {
			continue
		}
		if err := checkTimes(chain, now); err != nil { // it has not begun
			return nil, fmt.Errorf("alternate chain %d: %w", n, err)
		}
		chains = append(chains, chain)
	}
	return chains, nil
}

// withoutOwnRoot returns a chain without the root at its end: a client has it.
func withoutOwnRoot(chain []*x509.Certificate) []*x509.Certificate {
	if last := chain[len(chain)-1]; len(chain) > 1 && last.CheckSignatureFrom(last) == nil {
		return chain[:len(chain)-1]
	}
	return chain
}
