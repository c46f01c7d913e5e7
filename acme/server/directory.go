package server

import (
	"net/http"
	"slices"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// directoryJSON is the directory object (RFC 8555 §7.1.1, RFC 9773 §4).
type directoryJSON struct {
	NewNonce    string   `json:"newNonce"`
	NewAccount  string   `json:"newAccount"`
	NewOrder    string   `json:"newOrder"`
	NewAuthz    string   `json:"newAuthz,omitempty"`
	RevokeCert  string   `json:"revokeCert"`
	KeyChange   string   `json:"keyChange"`
	RenewalInfo string   `json:"renewalInfo"`
	Meta        metaJSON `json:"meta"`
}

// metaJSON is its metadata, with that of draft-ietf-acme-profiles §3.
type metaJSON struct {
	TermsOfService          string            `json:"termsOfService,omitempty"`
	Website                 string            `json:"website,omitempty"`
	CAAIdentities           []string          `json:"caaIdentities,omitempty"`
	ExternalAccountRequired bool              `json:"externalAccountRequired,omitempty"`
	Profiles                map[string]string `json:"profiles,omitempty"`
	// Of dns-persist-01 (draft-ietf-acme-dns-persist-02 §3.2, §4.1).
	IssuerDomainNames []string `json:"issuerDomainNames,omitempty"`
	AccountHashPrefix string   `json:"accountHashPrefix,omitempty"`
}

// directory tells where everything is.
func (s *Server) directory(r *request) (*response, error) {
	m := s.config.Meta
	d := directoryJSON{
		NewNonce:    r.base.to(newNoncePath),
		NewAccount:  r.base.to(newAccountPath),
		NewOrder:    r.base.to(newOrderPath),
		RevokeCert:  r.base.to(revokeCertPath),
		KeyChange:   r.base.to(keyChangePath),
		RenewalInfo: r.base.to(renewalPath),
		Meta: metaJSON{
			TermsOfService: m.TermsOfService, Website: m.Website, CAAIdentities: m.CAAIdentities,
			ExternalAccountRequired: s.config.ExternalAccounts.Required,
			Profiles:                s.config.Issuer.Profiles(),
		},
	}
	if s.config.AuthorizationReuse > 0 {
		d.NewAuthz = r.base.to(newAuthzPath)
	}
	if slices.Contains(s.config.Challenges, acme.DNSPersist01) {
		d.Meta.IssuerDomainNames, d.Meta.AccountHashPrefix = m.CAAIdentities, r.base.to(AccountHashPath)
	}
	// Long enough for a burst, short enough for a change of profiles.
	return &response{cacheable: "public, max-age=60", body: d}, nil
}

// newNonce gives a nonce, and nothing else (RFC 8555 §7.2). No round trip.
func (s *Server) newNonce(r *request) (*response, error) {
	if r.method == http.MethodHead {
		return &response{status: http.StatusOK}, nil
	}
	return &response{status: http.StatusNoContent}, nil
}
