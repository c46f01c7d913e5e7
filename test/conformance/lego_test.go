package conformance

import (
	"context"
	"crypto"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	legoacme "github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/challenge/dnspersist01"
	"github.com/go-acme/lego/v5/challenge/http01"
	"github.com/go-acme/lego/v5/challenge/tlsalpn01"
	"github.com/go-acme/lego/v5/lego"
	legolog "github.com/go-acme/lego/v5/log"
	"github.com/go-acme/lego/v5/registration"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// quietLego keeps lego's log, which is one for the process, off standard output,
// and its search for CNAMEs off the DNS of this host.
func quietLego() {
	legolog.SetDefault(slog.New(slog.DiscardHandler))
	_ = os.Setenv("LEGO_DISABLE_CNAME_SUPPORT", "true")
}

// legoClient is lego, as a library: Traefik's client.
type legoClient struct {
	t       *testing.T
	lab     *lab
	key     crypto.Signer
	account *legoacme.ExtendedAccount
}

func newLego(t *testing.T, l *lab) client {
	return &legoClient{t: t, lab: l, key: acmetest.NewKey(t)}
}

// GetEmail, GetRegistration and GetPrivateKey make it a registration.User.
func (c *legoClient) GetEmail() string                           { return "admin@conformance.example" }
func (c *legoClient) GetRegistration() *legoacme.ExtendedAccount { return c.account }
func (c *legoClient) GetPrivateKey() crypto.Signer               { return c.key }

// connect returns a lego client that knows no more than the user does.
func (c *legoClient) connect() (*lego.Client, error) {
	cfg := lego.NewConfig(c)
	cfg.CADirURL = c.lab.server.directory
	cfg.HTTPClient = c.lab.server.httpClient()
	return lego.NewClient(cfg)
}

func (c *legoClient) register(ctx context.Context, b *binding) (string, error) {
	c.account = nil
	l, err := c.connect()
	if err != nil {
		return "", err
	}
	if b == nil {
		c.account, err = l.Registration.Register(ctx, registration.RegisterOptions{TermsOfServiceAgreed: true})
	} else {
		c.account, err = l.Registration.RegisterWithExternalAccountBinding(ctx, registration.RegisterEABOptions{
			TermsOfServiceAgreed: true, Kid: b.kid, HmacEncoded: b.encodedKey(),
		})
	}
	if err != nil {
		return "", err
	}
	return c.account.Location, nil
}

func (c *legoClient) obtain(ctx context.Context, o order) (pemFiles, error) {
	if o.by == acme.DNSPersist01 {
		defer c.persist(o)()
	}
	l, err := c.connectToProve(o.by)
	if err != nil {
		return pemFiles{}, err
	}
	got, err := l.Certificate.Obtain(ctx, certificate.ObtainRequest{
		Domains: o.names, Bundle: true, KeyType: certcrypto.EC256, Profile: o.profile, PreferredChain: o.chain,
	})
	if err != nil {
		return pemFiles{}, err
	}
	return writePEM(c.t, c.lab.dir, got.Certificate, got.PrivateKey), nil
}

// connectToProve is connect for one who is to prove control of names.
func (c *legoClient) connectToProve(by acme.ChallengeType) (*lego.Client, error) {
	l, err := c.connect()
	if err != nil {
		return nil, err
	}
	switch by {
	case acme.HTTP01:
		err = l.Challenge.SetHTTP01Provider(patient{http01.NewProviderServer("127.0.0.1", strconv.Itoa(c.lab.ownHTTP01Port))})
	case acme.TLSALPN01:
		err = l.Challenge.SetTLSALPN01Provider(patient{tlsalpn01.NewProviderServer("127.0.0.1", strconv.Itoa(c.lab.tlsALPN01Port))})
	case acme.DNS01:
		err = l.Challenge.SetDNS01Provider(legoDNS{c.lab.zone}, dns01.PropagationWait(0, true))
	case acme.DNSPersist01:
		err = l.Challenge.SetDNSPersist01(dnspersist01.PropagationWait(0, true))
	}
	return l, err
}

// legoPersists is held by whoever has lego look for records of dns-persist-01:
// the DNS server that it asks is one for the process.
var legoPersists sync.Mutex

// persist puts the records of an order in place, as lego leaves it to its user to
// do, by the draft before ours: with the account's URL. It returns what is to be
// called when lego has looked for them.
func (c *legoClient) persist(o order) (done func()) {
	for _, name := range o.names {
		if domain, wildcard := strings.CutPrefix(name, "*."); wildcard {
			c.lab.zone.add("_validation-persist."+domain, c.lab.authority+"; accounturi="+c.account.Location+"; policy=wildcard")
		}
	}
	legoPersists.Lock()
	dnspersist01.SetDefaultClient(dnspersist01.NewClient(&dnspersist01.Options{RecursiveNameservers: []string{c.lab.dns.Address()}}))
	return legoPersists.Unlock
}

func (c *legoClient) renew(ctx context.Context, f pemFiles, o order) (pemFiles, error) {
	l, err := c.connectToProve(o.by)
	if err != nil {
		return pemFiles{}, err
	}
	chain, err := os.ReadFile(f.chain)
	if err != nil {
		return pemFiles{}, err
	}
	got, err := l.Certificate.Renew(ctx, certificate.Resource{Certificate: chain, KeyType: certcrypto.EC256},
		&certificate.RenewOptions{Bundle: true, UseARICertID: true, KeyType: certcrypto.EC256, PreferredChain: o.chain})
	if err != nil {
		return pemFiles{}, err
	}
	return writePEM(c.t, c.lab.dir, got.Certificate, got.PrivateKey), nil
}

func (c *legoClient) renewalWindow(ctx context.Context, f pemFiles) (start, end time.Time, err error) {
	l, err := c.connect()
	if err != nil {
		return start, end, err
	}
	info, err := l.Certificate.GetRenewalInfo(ctx, f.leaf(c.t))
	if err != nil {
		return start, end, err
	}
	return info.SuggestedWindow.Start, info.SuggestedWindow.End, nil
}

func (c *legoClient) changeKey(ctx context.Context) error {
	l, err := c.connect()
	if err != nil {
		return err
	}
	key := acmetest.NewKey(c.t)
	if err := l.Registration.KeyRollover(ctx, key); err != nil {
		return err
	}
	c.key = key
	return nil
}

func (c *legoClient) revoke(ctx context.Context, f pemFiles) error {
	l, err := c.connect()
	if err != nil {
		return err
	}
	chain, err := os.ReadFile(f.chain)
	if err != nil {
		return err
	}
	return l.Certificate.Revoke(ctx, chain)
}

// patient is a responder of lego's, which listens anew for each name. A process that is
// started meanwhile has the socket of the name before for a moment more.
type patient struct{ challenge.Provider }

// Present listens, and tries until it does.
func (p patient) Present(ctx context.Context, domain, token, keyAuth string) error {
	return settles(func() error { return p.Provider.Present(ctx, domain, token, keyAuth) })
}

// legoDNS is a DNS provider in lego's sense.
type legoDNS struct{ zone *zone }

func (d legoDNS) Present(ctx context.Context, domain, _, keyAuth string) error {
	info := dns01.GetChallengeInfo(ctx, domain, keyAuth)
	d.zone.add(info.EffectiveFQDN, info.Value)
	return nil
}

func (d legoDNS) CleanUp(context.Context, string, string, string) error { return nil }

// Timeout makes lego look for the record at once.
func (d legoDNS) Timeout() (timeout, interval time.Duration) { return time.Minute, time.Millisecond }

// writePEM writes what a library returned to where programs leave it.
func writePEM(t *testing.T, dir string, chain, key []byte) pemFiles {
	t.Helper()
	files := pemFiles{chain: filepath.Join(dir, "fullchain.pem"), key: filepath.Join(dir, "key.pem")}
	writeFile(t, files.chain, chain)
	writeFile(t, files.key, key)
	return files
}
