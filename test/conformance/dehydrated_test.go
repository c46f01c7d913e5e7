package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// dehydratedHook is called by dehydrated: event, name, token, response. The
// certificate for tls-alpn-01 is in a file by then.
const dehydratedHook = `[ "$1" = deploy_challenge ] || exit 0
curl -sSf --data-urlencode "name=$2" --data-urlencode "token=$3" --data-urlencode "value=$4" \
	--data-urlencode "certificate=$ALPNCERTDIR/$2.crt.pem" --data-urlencode "key=$ALPNCERTDIR/$2.key.pem" "$HOOKS/$BY"
`

// dehydratedConfig is dehydrated's configuration: a shell script.
const dehydratedConfig = `CA=%q
BASEDIR=%q
WELLKNOWN=$BASEDIR/wellknown
CURL_OPTS="--cacert %s"
HOOK=%q
CONTACT_EMAIL=admin@conformance.example
ACCOUNT_KEYSIZE=2048
KEYSIZE=2048
KEY_ALGO=prime256v1
`

// dehydratedClient is dehydrated, a shell script around OpenSSL and curl.
type dehydratedClient struct {
	*program
	config string
}

func newDehydrated(t *testing.T, l *lab) client {
	p := newProgram(t, l, "dehydrated", "HOOKS="+startHooks(t, l, acme.HTTP01, acme.TLSALPN01).url)
	c := &dehydratedClient{program: p, config: filepath.Join(p.dir, "config")}
	hook := p.script(t, "hook", dehydratedHook)
	writeFile(t, c.config, fmt.Appendf(nil, dehydratedConfig, l.server.directory, p.dir, l.server.rootFile, hook))
	if err := os.Mkdir(filepath.Join(p.dir, "wellknown"), 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

// dehydrated runs it.
func (c *dehydratedClient) dehydrated(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, append([]string{"--config", c.config}, args...)...)
}

// dehydratedAccount is the file that has the account's URL.
const dehydratedAccount = "accounts/*/account_id.json"

func (c *dehydratedClient) register(ctx context.Context, b *binding) (string, error) {
	if b != nil {
		c.env = append(c.env, "EAB_KID="+b.kid, "EAB_HMAC_KEY="+b.encodedKey())
	}
	args := []string{"--register", "--accept-terms"}
	if kept, err := c.onlyMatch(dehydratedAccount); err == nil {
		// It does not register a key again; but when it has lost where the account
		// is, it asks the server, before it brings the contact up to date.
		args = []string{"--account"}
		if err := os.Remove(kept); err != nil {
			return "", err
		}
	}
	if _, err := c.dehydrated(ctx, args...); err != nil {
		return "", err
	}
	path, err := c.onlyMatch(dehydratedAccount)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var account struct{ URL string }
	return account.URL, json.Unmarshal(data, &account)
}

func (c *dehydratedClient) obtain(ctx context.Context, o order) (pemFiles, error) {
	return c.cron(ctx, o)
}

func (c *dehydratedClient) renew(ctx context.Context, _ pemFiles, o order) (pemFiles, error) {
	return c.cron(ctx, o, "--force")
}

// cron gets a certificate, unless it has one that is not due.
func (c *dehydratedClient) cron(ctx context.Context, o order, options ...string) (pemFiles, error) {
	args := append([]string{"--cron", "--challenge", string(o.by), "--alias", "test"}, options...)
	if o.chain != "" {
		args = append(args, "--preferred-chain", o.chain)
	}
	c.env = append(c.env, "BY="+string(o.by))
	var names string
	for _, name := range o.names {
		names += name + " "
	}
	if _, err := c.dehydrated(ctx, append(args, "--domain", names)...); err != nil {
		return pemFiles{}, err
	}
	certs := filepath.Join(c.dir, "certs", "test")
	return pemFiles{chain: filepath.Join(certs, "fullchain.pem"), key: filepath.Join(certs, "privkey.pem")}, nil
}

func (c *dehydratedClient) revoke(ctx context.Context, f pemFiles) error {
	_, err := c.dehydrated(ctx, "--revoke", filepath.Join(filepath.Dir(f.chain), "cert.pem"))
	return err
}
