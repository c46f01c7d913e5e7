package conformance

import (
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// prepareTraefik writes Traefik's two files: its own, and that of what it serves.
// Traefik is built as the cluster's ingress controller is.
func prepareTraefik(t *testing.T, l *lab, s site) func(*testing.T) func() {
	t.Helper()
	type m map[string]any
	resolver := m{
		"caServer": l.server.directory, "caCertificates": []string{l.server.rootFile}, "email": "admin@conformance.example",
		"storage": filepath.Join(l.dir, "acme.json"), "profile": s.profile, "keyType": "EC256",
	}
	if s.by == acme.HTTP01 {
		resolver["httpChallenge"] = m{"entryPoint": "web"}
	} else {
		resolver["tlsChallenge"] = m{}
	}
	if s.binding != nil {
		resolver["eab"] = m{"kid": s.binding.kid, "hmacEncoded": s.binding.encodedKey()}
	}
	if s.profile == brief {
		resolver["certificatesDuration"] = 1 // hours: it renews in the last twenty minutes
	}
	own, served := filepath.Join(l.dir, "traefik.yaml"), filepath.Join(l.dir, "sites.yaml")
	writeYAML(t, own, m{
		"global":                m{"checkNewVersion": false, "sendAnonymousUsage": false},
		"entryPoints":           m{"web": m{"address": loopback(l.http01Port)}, "websecure": m{"address": loopback(l.tlsALPN01Port)}},
		"certificatesResolvers": m{"acmeserver": m{"acme": resolver}},
		"providers":             m{"file": m{"filename": served}},
		"ping":                  m{"manualRouting": true},
	})
	writeYAML(t, served, m{"http": m{"routers": m{"site": m{
		"rule": "Host(`" + s.name + "`)", "entryPoints": []string{"websecure"}, "service": "ping@internal",
		"tls": m{"certResolver": "acmeserver"},
	}}}})
	traefik := filepath.Join(built(t, "../../hack/kind/offline/build", "traefik"), "traefik")
	return func(t *testing.T) func() {
		t.Helper()
		return startDaemon(t, nil, traefik, "--configFile="+own)
	}
}

// writeYAML writes a configuration file.
func writeYAML(t *testing.T, path string, content any) {
	t.Helper()
	data, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, data)
}
