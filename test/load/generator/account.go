package generator

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"runtime"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/errgroup"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// account is one of those that share the load.
type account struct {
	key        crypto.Signer
	url        string
	thumbprint acme.Thumbprint
}

// newKey returns an account key.
func newKey(algorithm KeyAlgorithm) (crypto.Signer, error) {
	if algorithm == RS256 {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// makeAccounts registers accounts.
func makeAccounts(ctx context.Context, c *Config, directory *acmetest.Directory) ([]*account, error) {
	accounts := make([]*account, c.Accounts)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range accounts {
		g.Go(func() (err error) {
			accounts[i], err = makeAccount(ctx, c, directory)
			return err
		})
	}
	return accounts, g.Wait()
}

// makeAccount registers an account.
func makeAccount(ctx context.Context, c *Config, directory *acmetest.Directory) (*account, error) {
	key, err := newKey(c.Keys)
	if err != nil {
		return nil, fmt.Errorf("account key: %w", err)
	}
	conn := newConnection(c.Roots)
	defer conn.close()
	client := &acmetest.Client{HTTP: &http.Client{Transport: conn}, Directory: *directory, Key: key}
	if _, err := client.NewAccount(ctx, nil); err != nil {
		return nil, err
	}
	thumbprint, err := acme.ThumbprintOf(&jose.JSONWebKey{Key: key.Public()})
	if err != nil {
		return nil, err
	}
	return &account{key: key, url: client.Account, thumbprint: thumbprint}, nil
}
