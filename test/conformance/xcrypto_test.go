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
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	xacme "golang.org/x/crypto/acme"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// xcryptoClient is golang.org/x/crypto/acme, which cert-manager and autocert are
// made with. It makes the responses, and leaves it to the user to serve them.
type xcryptoClient struct {
	*xacme.Client
	t   *testing.T
	lab *lab
}

func newXCrypto(t *testing.T, l *lab) client { return newXCryptoClient(t, l) }

// newXCryptoClient is newXCrypto, for those who take the steps one by one.
func newXCryptoClient(t *testing.T, l *lab) *xcryptoClient {
	return &xcryptoClient{t: t, lab: l, Client: &xacme.Client{
		Key: acmetest.NewKey(t), DirectoryURL: l.server.directory, HTTPClient: l.server.httpClient(),
	}}
}

func (c *xcryptoClient) register(ctx context.Context, b *binding) (string, error) {
	account := &xacme.Account{Contact: []string{"mailto:admin@conformance.example"}}
	if b != nil {
		account.ExternalAccountBinding = &xacme.ExternalAccountBinding{KID: b.kid, Key: b.key}
	}
	account, err := c.Register(ctx, account, xacme.AcceptTOS)
	if errors.Is(err, xacme.ErrAccountAlreadyExists) {
		account, err = c.GetReg(ctx, "")
	}
	if err != nil {
		return "", err
	}
	return account.URI, nil
}

func (c *xcryptoClient) obtain(ctx context.Context, o order) (pemFiles, error) {
	var options []xacme.OrderOption
	if o.profile != "" {
		options = append(options, xacme.WithOrderIssuanceProfile(xacme.ProfileName(o.profile)))
	}
	made, err := c.AuthorizeOrder(ctx, authzIDs(o.names), options...)
	if err != nil {
		return pemFiles{}, err
	}
	if err := c.prove(ctx, made, o.by); err != nil {
		return pemFiles{}, err
	}
	return c.finalize(ctx, made, &o)
}

func (c *xcryptoClient) renew(ctx context.Context, _ pemFiles, o order) (pemFiles, error) {
	return c.obtain(ctx, o)
}

func (c *xcryptoClient) changeKey(ctx context.Context) error {
	return c.AccountKeyRollover(ctx, acmetest.NewKey(c.t))
}

func (c *xcryptoClient) revoke(ctx context.Context, f pemFiles) error {
	pair, err := tls.LoadX509KeyPair(f.chain, f.key)
	if err != nil {
		return err
	}
	return c.RevokeCert(ctx, nil, pair.Certificate[0], xacme.CRLReasonSuperseded)
}

// prove responds to the challenges of an order, and waits until it is ready.
func (c *xcryptoClient) prove(ctx context.Context, made *xacme.Order, by acme.ChallengeType) error {
	var respond func(id xacme.AuthzID, token string) error
	for _, url := range made.AuthzURLs {
		a, err := c.GetAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if a.Status == xacme.StatusValid {
			continue
		}
		if respond == nil {
			respond = c.responder(by)
		}
		if err := c.respond(ctx, a, by, respond); err != nil {
			return err
		}
	}
	_, err := c.WaitOrder(ctx, made.URI)
	return err
}

// respond responds to one challenge of an authorization, and waits for the result.
func (c *xcryptoClient) respond(ctx context.Context, a *xacme.Authorization, by acme.ChallengeType, put func(xacme.AuthzID, string) error) error {
	for _, challenge := range a.Challenges {
		if challenge.Type != string(by) {
			continue
		}
		if err := put(a.Identifier, challenge.Token); err != nil {
			return err
		}
		if _, err := c.Accept(ctx, challenge); err != nil {
			return err
		}
		_, err := c.WaitAuthorization(ctx, a.URI)
		return err
	}
	return fmt.Errorf("the authorization of %s has no challenge %s", a.Identifier.Value, by)
}

// responder returns what puts a response where validators look for it.
func (c *xcryptoClient) responder(by acme.ChallengeType) func(id xacme.AuthzID, token string) error {
	switch by {
	case acme.DNS01:
		return func(id xacme.AuthzID, token string) error {
			value, err := c.DNS01ChallengeRecord(token)
			c.lab.zone.add("_acme-challenge."+id.Value, value)
			return err
		}
	case acme.TLSALPN01:
		server := c.lab.tlsALPN01(c.t)
		return func(id xacme.AuthzID, token string) error {
			certificate, err := c.TLSALPN01ChallengeCert(token, id.Value)
			server.SetCertificate(id.Value, &certificate)
			return err
		}
	default:
		server := c.lab.http01(c.t)
		return func(_ xacme.AuthzID, token string) error {
			body, err := c.HTTP01ChallengeResponse(token)
			server.Set(token, body)
			return err
		}
	}
}

// finalize sends a CSR and writes what comes back.
func (c *xcryptoClient) finalize(ctx context.Context, made *xacme.Order, o *order) (pemFiles, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pemFiles{}, err
	}
	csr, err := newCSR(key, o.names)
	if err != nil {
		return pemFiles{}, err
	}
	chain, url, err := c.CreateCertFromOrder(ctx, made, csr, true)
	if err == nil && o.chain != "" {
		chain, err = c.alternate(ctx, url, o.chain)
	}
	if err != nil {
		return pemFiles{}, err
	}
	var text []byte
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pemFiles{}, err
	}
	return writePEM(c.t, c.lab.dir, text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), nil
}

// alternate fetches the chain of a certificate that leads to a root, as cert-manager does.
func (c *xcryptoClient) alternate(ctx context.Context, url, root string) ([][]byte, error) {
	others, err := c.ListCertAlternates(ctx, url)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		chain, err := c.FetchCert(ctx, other, true)
		if err != nil {
			return nil, err
		}
		last, err := x509.ParseCertificate(chain[len(chain)-1])
		if err != nil {
			return nil, err
		}
		if last.Issuer.CommonName == root {
			return chain, nil
		}
	}
	return nil, fmt.Errorf("none of %d other chains leads to %s", len(others), root)
}

// authzIDs returns names as identifiers.
func authzIDs(names []string) []xacme.AuthzID {
	var ids []xacme.AuthzID
	for _, name := range names {
		if isAddress(name) {
			ids = append(ids, xacme.IPIDs(name)...)
		} else {
			ids = append(ids, xacme.DomainIDs(name)...)
		}
	}
	return ids
}

// newCSR returns a CSR in DER for names, of which some may be addresses.
func newCSR(key crypto.Signer, names []string) ([]byte, error) {
	request := new(x509.CertificateRequest)
	for _, name := range names {
		if isAddress(name) {
			request.IPAddresses = append(request.IPAddresses, net.ParseIP(name))
		} else {
			request.DNSNames = append(request.DNSNames, name)
		}
	}
	return x509.CreateCertificateRequest(rand.Reader, request, key)
}

// isAddress reports whether a name is an IP address.
func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}
