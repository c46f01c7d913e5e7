package conformance

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// certbotHook is called by certbot with CERTBOT_DOMAIN and CERTBOT_VALIDATION.
const certbotHook = `curl -sSf --data-urlencode "name=$CERTBOT_DOMAIN" --data-urlencode "value=$CERTBOT_VALIDATION" "$HOOKS/dns-01"
`

// certbotClient is certbot, with its own web server for http-01.
type certbotClient struct {
	*program
	hook string
}

func newCertbot(t *testing.T, l *lab) client {
	p := newProgram(t, l, "certbot", "REQUESTS_CA_BUNDLE="+l.server.rootFile, "HOOKS="+startHooks(t, l).url)
	return &certbotClient{program: p, hook: p.script(t, "hook", certbotHook)}
}

// certbot runs a subcommand.
func (c *certbotClient) certbot(ctx context.Context, subcommand string, args ...string) (string, error) {
	return c.run(ctx, append([]string{
		subcommand, "--non-interactive", "--server", c.lab.server.directory,
		"--config-dir", c.dir, "--work-dir", filepath.Join(c.dir, "work"), "--logs-dir", filepath.Join(c.dir, "logs"),
	}, args...)...)
}

func (c *certbotClient) register(ctx context.Context, b *binding) (string, error) {
	args := []string{"--agree-tos", "--no-eff-email", "--email", "admin@conformance.example"}
	if b != nil {
		args = append(args, "--eab-kid", b.kid, "--eab-hmac-key", b.encodedKey())
	}
	if _, err := c.certbot(ctx, "register", args...); err != nil {
		return "", err
	}
	path, err := c.onlyMatch("accounts/*/directory/*/regr.json")
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var registration struct{ URI string }
	return registration.URI, json.Unmarshal(data, &registration)
}

func (c *certbotClient) obtain(ctx context.Context, o order) (pemFiles, error) {
	args := []string{"--cert-name", "test"}
	if o.by == acme.DNS01 {
		args = append(args, "--manual", "--preferred-challenges", "dns", "--manual-auth-hook", c.hook)
	} else {
		args = append(args, "--standalone", "--preferred-challenges", "http",
			"--http-01-address", "127.0.0.1", "--http-01-port", strconv.Itoa(c.lab.ownHTTP01Port))
	}
	args = append(args, "--domains", strings.Join(o.names, ","))
	if _, err := c.certbot(ctx, "certonly", args...); err != nil {
		return pemFiles{}, err
	}
	live := filepath.Join(c.dir, "live", "test")
	return pemFiles{chain: filepath.Join(live, "fullchain.pem"), key: filepath.Join(live, "privkey.pem")}, nil
}

func (c *certbotClient) renew(ctx context.Context, f pemFiles, o order) (pemFiles, error) {
	args := []string{"--cert-name", "test", "--force-renewal", "--no-random-sleep-on-renew"}
	if o.chain != "" {
		args = append(args, "--preferred-chain", o.chain)
	}
	_, err := c.certbot(ctx, "renew", args...)
	return f, err
}

func (c *certbotClient) revoke(ctx context.Context, f pemFiles) error {
	_, err := c.certbot(ctx, "revoke", "--cert-path", f.chain, "--no-delete-after-revoke", "--reason", "superseded")
	return err
}
