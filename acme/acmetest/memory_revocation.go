package acmetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// CertificateBySerial reads a certificate of whichever account.
func (m *Memory) CertificateBySerial(ctx context.Context, serial acme.Serial) (*acme.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.certificates {
		if c.Serial == serial {
			clone := *c
			return &clone, nil
		}
	}
	return nil, fmt.Errorf("certificate %s: %w", serial, acme.ErrNotFound)
}

// RevokeCertificate revokes a certificate, once.
func (m *Memory) RevokeCertificate(ctx context.Context, certificate acme.ID, reason int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c, found := m.certificates[certificate]
	switch {
	case !found:
		return notFound("certificate", certificate)
	case !c.RevokedAt.IsZero():
		return &acme.StateError{Object: "certificate", ID: certificate, State: "revoked"}
	}
	c.RevokedAt, c.RevocationReason = stored(time.Now()), reason
	return nil
}

// Revocations lists the revoked certificates of an issuer that have not expired
// for an hour.
func (m *Memory) Revocations(ctx context.Context, issuer acme.IssuerID) (acme.RevocationState, error) {
	if err := ctx.Err(); err != nil {
		return acme.RevocationState{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	state := acme.RevocationState{AsOf: stored(time.Now())}
	for _, c := range m.certificates {
		if c.IssuerID == issuer && !c.RevokedAt.IsZero() && c.NotAfter.After(state.AsOf.Add(-time.Hour)) {
			state.Revoked = append(state.Revoked, acme.Revocation{Serial: c.Serial, RevokedAt: c.RevokedAt, Reason: c.RevocationReason})
		}
	}
	slices.SortFunc(state.Revoked, func(a, b acme.Revocation) int { return bytes.Compare(a.Serial[:], b.Serial[:]) })
	return state, nil
}

// SaveCRL keeps the last CRL of an issuer.
func (m *Memory) SaveCRL(ctx context.Context, issuer acme.IssuerID, crl acme.CRL) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if kept, found := m.crls[issuer]; !found || kept.ThisUpdate.Before(crl.ThisUpdate) {
		m.crls[issuer] = crl
	}
	return nil
}

// CRL returns the CRL kept of an issuer.
func (m *Memory) CRL(ctx context.Context, issuer acme.IssuerID) (acme.CRL, error) {
	if err := ctx.Err(); err != nil {
		return acme.CRL{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	crl, found := m.crls[issuer]
	if !found {
		return acme.CRL{}, fmt.Errorf("CRL of issuer %x: %w", issuer, acme.ErrNotFound)
	}
	return crl, nil
}

// ChangeKey replaces the key of a valid account whose key is the old one.
func (m *Memory) ChangeKey(ctx context.Context, account acme.ID, old acme.Thumbprint, key *jose.JSONWebKey, spends []acme.Spend) (*acme.Account, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	thumbprint, err := acme.ThumbprintOf(key)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.validAccount(account)
	if err != nil {
		return nil, err
	}
	if current, err := acme.ThumbprintOf(a.Key); err != nil || current != old {
		return nil, &acme.StateError{Object: "account", ID: account, State: string(a.Status)}
	}
	if holder := m.holderOf(thumbprint); holder != nil && holder.ID != account {
		return cloneAccount(holder), fmt.Errorf("change key of account %s: %w", account, acme.ErrKeyInUse)
	}
	if _, err := m.spend(spends, account); err != nil {
		return nil, err
	}
	keys := append([]acme.Thumbprint{old}, m.formerKeys[account]...)
	m.formerKeys[account] = keys[:min(len(keys), acme.MaxFormerKeys)]
	a.Key = key
	return cloneAccount(a), nil
}
