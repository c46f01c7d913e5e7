package conformance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// acmetoolHook is called by acmetool: event, name, target file, TXT value.
const acmetoolHook = `[ "$1" = challenge-dns-start ] || exit 42
curl -sSf --data-urlencode "name=$2" --data-urlencode "value=$4" "$HOOKS/dns-01"
`

// acmetoolClient is acmetool, which is told what certificates should be there.
type acmetoolClient struct {
	*program
	t     *testing.T
	state string
}

func newAcmetool(t *testing.T, l *lab) client {
	p := newProgram(t, l, "acmetool", "SSL_CERT_FILE="+l.server.rootFile, "HOOKS="+startHooks(t, l).url)
	c := &acmetoolClient{program: p, t: t, state: filepath.Join(p.dir, "state")}
	for _, dir := range []string{"hooks", "state", "state/conf"} {
		if err := os.Mkdir(filepath.Join(p.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	type m map[string]any
	writeYAML(t, filepath.Join(c.state, "conf", "target"), m{"request": m{
		"provider": l.server.directory, "key": m{"type": "ecdsa"},
		"challenge": m{"http-ports": []string{loopback(l.ownHTTP01Port)}, "http-self-test": false},
	}})
	writeYAML(t, filepath.Join(c.dir, "responses"), m{"acme-enter-email": "admin@conformance.example"})
	return c
}

// acmetool runs a command.
func (c *acmetoolClient) acmetool(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, append([]string{
		"--state", c.state, "--hooks", filepath.Join(c.dir, "hooks"), "--batch", "--response-file", filepath.Join(c.dir, "responses"),
	}, args...)...)
}

// register leaves it to obtain: acmetool registers when it first orders.
func (c *acmetoolClient) register(context.Context, *binding) (string, error) { return "", nil }

func (c *acmetoolClient) obtain(ctx context.Context, o order) (pemFiles, error) {
	if o.by == acme.DNS01 { // it tries whatever it can
		c.script(c.t, "hooks/dns", acmetoolHook)
	}
	if _, err := c.acmetool(ctx, append([]string{"want"}, o.names...)...); err != nil {
		return pemFiles{}, err
	}
	live := filepath.Join(c.state, "live", o.names[0])
	return pemFiles{chain: filepath.Join(live, "fullchain"), key: filepath.Join(live, "privkey")}, nil
}

func (c *acmetoolClient) renew(context.Context, pemFiles, order) (pemFiles, error) {
	return pemFiles{}, errors.New("acmetool renews what is due, and nothing else")
}

func (c *acmetoolClient) revoke(context.Context, pemFiles) error {
	return errors.New("acmetool notes that a certificate is to be revoked, and asks nobody to")
}
