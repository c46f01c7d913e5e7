package conformance

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// caddyFile is Caddy's configuration: ports for HTTP and HTTPS, where it stores
// what it has, the issuer's options, the site.
const caddyFile = `{
	admin off
	persist_config off
	skip_install_trust
	default_bind 127.0.0.1
	http_port %d
	https_port %d
	storage file_system %q
}
%s {
	tls {
		issuer acme {
			%s
		}
	}
	respond "served"
}
`

// prepareCaddy writes a Caddyfile. Caddy is built as the tool of a module of its
// own, and found by go tool.
func prepareCaddy(t *testing.T, l *lab, s site) func(*testing.T) func() {
	t.Helper()
	dir := filepath.Join(l.dir, "caddy")
	issuer := fmt.Sprintf("dir %s\n\t\t\ttrusted_roots %q\n\t\t\temail admin@conformance.example", l.server.directory, l.server.rootFile)
	if s.by == acme.HTTP01 {
		issuer += "\n\t\t\tdisable_tlsalpn_challenge"
	} else {
		issuer += "\n\t\t\tdisable_http_challenge"
	}
	if s.profile != "" {
		issuer += "\n\t\t\tprofile " + s.profile
	}
	if s.binding != nil {
		issuer += "\n\t\t\teab " + s.binding.kid + " " + s.binding.encodedKey()
	}
	file := filepath.Join(l.dir, "Caddyfile")
	writeFile(t, file, fmt.Appendf(nil, caddyFile, l.http01Port, l.tlsALPN01Port, dir, s.name, issuer))
	caddy := built(t, "go", "tool", "-modfile=caddy/go.mod", "-n", "caddy")
	return func(t *testing.T) func() {
		t.Helper()
		return startDaemon(t, nil, caddy, "run", "--config", file, "--adapter", "caddyfile")
	}
}
