package conformance

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// uacmeHook is called by uacme: method, type, identifier, token, response. It
// declines all types but $BY.
const uacmeHook = `[ "$2" = "$BY" ] || exit 1
[ "$1" = begin ] || exit 0
curl -sSf --data-urlencode "name=$3" --data-urlencode "token=$4" --data-urlencode "value=$5" "$HOOKS/$2"
`

// uacmeTrust runs a command ($@) in a file system in which the system's trusted
// roots are those of a file ($0): uacme takes no others.
const uacmeTrust = `mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"`

// uacmeClient is uacme, which is written in C and leaves challenges to a hook.
type uacmeClient struct {
	*program
	hook string
}

func newUacme(t *testing.T, l *lab) client {
	mustHave(t, "unshare", "util-linux")
	p := newProgram(t, l, "uacme", "HOOKS="+startHooks(t, l, acme.HTTP01).url)
	return &uacmeClient{program: p, hook: p.script(t, "hook", uacmeHook)}
}

// uacme runs a subcommand, which proves control by the given way.
func (c *uacmeClient) uacme(ctx context.Context, by acme.ChallengeType, args ...string) (string, error) {
	line := append([]string{
		"unshare", "--map-root-user", "--mount", "sh", "-c", uacmeTrust, c.lab.server.rootFile,
		"env", "BY=" + string(by), "uacme", "-vv", "--yes", "--acme-url", c.lab.server.directory,
		"--confdir", filepath.Join(c.dir, "conf"), "--type", "EC", "--hook", c.hook,
	}, args...)
	return c.runAs(ctx, line)
}

// accountURL is where uacme says an account is.
var accountURL = regexp.MustCompile(`https://[0-9.:]+/account/[0-9a-v]+`)

func (c *uacmeClient) register(ctx context.Context, b *binding) (string, error) {
	var args []string
	if b != nil {
		args = append(args, "--eab", b.kid+":"+b.encodedKey())
	}
	said, err := c.uacme(ctx, "", append(args, "new", "admin@conformance.example")...)
	if err != nil {
		// Status 1 is for what is up to date already, such as an account.
		if account := accountURL.FindString(said); account != "" {
			return account, nil
		}
		return "", err
	}
	account := accountURL.FindString(said)
	if account == "" {
		return "", errors.New("uacme did not say where the account is: " + said)
	}
	return account, nil
}

func (c *uacmeClient) obtain(ctx context.Context, o order) (pemFiles, error) {
	return c.issue(ctx, o)
}

func (c *uacmeClient) renew(ctx context.Context, _ pemFiles, o order) (pemFiles, error) {
	return c.issue(ctx, o, "--force")
}

func (c *uacmeClient) changeKey(ctx context.Context) error {
	_, err := c.uacme(ctx, "", "newkey")
	return err
}

// issue gets a certificate.
func (c *uacmeClient) issue(ctx context.Context, o order, options ...string) (pemFiles, error) {
	if o.chain != "" { // it chooses by number
		options = append(options, "--alternate", "1")
	}
	if _, err := c.uacme(ctx, o.by, append(append(options, "issue"), o.names...)...); err != nil {
		return pemFiles{}, err
	}
	name, conf := strings.TrimPrefix(o.names[0], "*."), filepath.Join(c.dir, "conf")
	return pemFiles{chain: filepath.Join(conf, name, "cert.pem"), key: filepath.Join(conf, "private", name, "key.pem")}, nil
}

func (c *uacmeClient) revoke(ctx context.Context, f pemFiles) error {
	_, err := c.uacme(ctx, "", "revoke", f.chain)
	return err
}
