package conformance

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	zacme "github.com/mholt/acmez/v3/acme"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
)

// acmezClient is acmez, which Caddy is made with.
type acmezClient struct {
	t       *testing.T
	lab     *lab
	client  *acmez.Client
	key     crypto.Signer
	account zacme.Account
}

func newAcmez(t *testing.T, l *lab) client {
	return &acmezClient{t: t, lab: l, key: acmetest.NewKey(t), client: &acmez.Client{
		Client: &zacme.Client{Directory: l.server.directory, HTTPClient: l.server.httpClient()},
	}}
}

func (c *acmezClient) register(ctx context.Context, b *binding) (string, error) {
	account := zacme.Account{
		Contact: []string{"mailto:admin@conformance.example"}, TermsOfServiceAgreed: true, PrivateKey: c.key,
	}
	if b != nil {
		if err := account.SetExternalAccountBinding(ctx, c.client.Client, zacme.EAB{KeyID: b.kid, MACKey: b.encodedKey()}); err != nil {
			return "", err
		}
	}
	account, err := c.client.NewAccount(ctx, account)
	if err != nil {
		return "", err
	}
	c.account = account
	return account.Location, nil
}

func (c *acmezClient) obtain(ctx context.Context, o order) (pemFiles, error) {
	return c.order(ctx, o, nil)
}

func (c *acmezClient) renew(ctx context.Context, f pemFiles, o order) (pemFiles, error) {
	return c.order(ctx, o, f.leaf(c.t))
}

// order gets a certificate, which replaces another where that is not nil.
func (c *acmezClient) order(ctx context.Context, o order, replaced *x509.Certificate) (pemFiles, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pemFiles{}, err
	}
	c.client.ChallengeSolvers = map[string]acmez.Solver{string(o.by): c.solver(o.by)}
	csr, err := acmez.NewCSR(key, o.names)
	if err != nil {
		return pemFiles{}, err
	}
	parameters, err := acmez.OrderParametersFromCSR(c.account, csr)
	if err != nil {
		return pemFiles{}, err
	}
	parameters.Profile, parameters.Replaces = o.profile, replaced
	chains, err := c.client.ObtainCertificate(ctx, parameters)
	if err != nil {
		return pemFiles{}, err
	}
	chosen, err := chainTo(o.chain, chains)
	if err != nil {
		return pemFiles{}, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return pemFiles{}, err
	}
	return writePEM(c.t, c.lab.dir, chosen.ChainPEM, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})), nil
}

// chainTo returns the first of the chains that leads to a root; the first of all where
// none is named. acmez fetches all, and leaves it to its user to choose.
func chainTo(root string, chains []zacme.Certificate) (zacme.Certificate, error) {
	for _, chain := range chains {
		certificates, err := issuance.ParseCertificates(chain.ChainPEM)
		if err != nil {
			return chain, err
		}
		if root == "" || certificates[len(certificates)-1].Issuer.CommonName == root {
			return chain, nil
		}
	}
	return zacme.Certificate{}, fmt.Errorf("none of %d chains leads to %s", len(chains), root)
}

func (c *acmezClient) renewalWindow(ctx context.Context, f pemFiles) (start, end time.Time, err error) {
	info, err := c.client.GetRenewalInfo(ctx, f.leaf(c.t))
	return info.SuggestedWindow.Start, info.SuggestedWindow.End, err
}

func (c *acmezClient) changeKey(ctx context.Context) error {
	key := acmetest.NewKey(c.t)
	account, err := c.client.AccountKeyRollover(ctx, c.account, key)
	if err != nil {
		return err
	}
	c.account, c.key = account, key
	return nil
}

func (c *acmezClient) revoke(ctx context.Context, f pemFiles) error {
	pair, err := tls.LoadX509KeyPair(f.chain, f.key)
	if err != nil {
		return err
	}
	return c.client.RevokeCertificate(ctx, c.account, pair.Leaf, nil, zacme.ReasonSuperseded)
}

// mustBeRevoked fails the test unless a certificate is revoked: whoever has its key
// is told so when revoking it once more.
func (l *lab) mustBeRevoked(ctx context.Context, t *testing.T, pair tls.Certificate) {
	t.Helper()
	c := &zacme.Client{Directory: l.server.directory, HTTPClient: l.server.httpClient()}
	err := c.RevokeCertificate(ctx, zacme.Account{}, pair.Leaf, pair.PrivateKey.(crypto.Signer), zacme.ReasonKeyCompromise)
	if err == nil {
		t.Fatal("the certificate was not revoked yet")
	}
	mustSay(t, err, "urn:ietf:params:acme:error:alreadyRevoked")
}

// solver returns what puts a response where validators look for it.
func (c *acmezClient) solver(by acme.ChallengeType) acmezSolver {
	switch by {
	case acme.DNS01:
		return func(challenge zacme.Challenge) error {
			c.lab.zone.add(challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
			return nil
		}
	case acme.DNSAccount01:
		return func(challenge zacme.Challenge) error {
			c.lab.zone.add(challenge.DNSAccount01TXTRecordName(c.account), challenge.DNS01KeyAuthorization())
			return nil
		}
	case acme.DNSPersist01:
		return func(challenge zacme.Challenge) error { // one record for a name and its wildcard
			value := challenge.DNSPersist01TXTRecordValue(c.account, challenge.IssuerDomainNames[0], true)
			c.lab.zone.add(challenge.DNSPersist01TXTRecordName(), value)
			return nil
		}
	case acme.TLSALPN01:
		server := c.lab.tlsALPN01(c.t)
		return func(challenge zacme.Challenge) error {
			certificate, err := acmez.TLSALPN01ChallengeCert(challenge)
			server.SetCertificate(challenge.Identifier.Value, certificate)
			return err
		}
	default:
		server := c.lab.http01(c.t)
		return func(challenge zacme.Challenge) error {
			server.Set(challenge.Token, challenge.KeyAuthorization)
			return nil
		}
	}
}

// acmezSolver is a solver in acmez's sense.
type acmezSolver func(zacme.Challenge) error

func (s acmezSolver) Present(_ context.Context, challenge zacme.Challenge) error { return s(challenge) }
func (s acmezSolver) CleanUp(context.Context, zacme.Challenge) error             { return nil }
