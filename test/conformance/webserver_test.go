package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// site is what a web server is told to serve by TLS, at the ports that validators
// dial. It is told of no certificate: it fetches its own.
type site struct {
	name    string
	by      acme.ChallengeType
	profile string   // empty: that of a client that asks for none
	binding *binding // of the external account; may be nil
}

// webServer is a column of the table of web servers.
type webServer struct {
	name string
	// prepare writes its configuration, and returns what starts it with what it has
	// stored by then.
	prepare func(t *testing.T, l *lab, s site) (start func(t *testing.T) (stop func()))
	// quiet is true of those that ask for no renewal information.
	quiet   bool
	because string
}

// webServers lists them.
var webServers = []webServer{
	{name: "Caddy", prepare: prepareCaddy},
	{name: "certmagic", prepare: prepareCertmagic},
	{name: "Traefik", prepare: prepareTraefik, quiet: true, because: "renews by what is left of a certificate, and asks for no renewal information"},
	{name: "Apache httpd", prepare: prepareApache},
}

// siteScenario is a row of the table of web servers.
type siteScenario struct {
	name    string
	options options
	site    site
	// asks is true of what a server that asks for no renewal information cannot do.
	asks bool
	run  func(ctx context.Context, t *testing.T, l *lab, w *webServer, s site)
}

// siteScenarios lists the rows.
var siteScenarios = []siteScenario{
	{name: "serves by http-01", site: site{by: acme.HTTP01}, run: serves},
	{name: "serves by tls-alpn-01", site: site{by: acme.TLSALPN01}, run: serves},
	{name: "serves by the profile that it asks for", site: site{by: acme.TLSALPN01, profile: "shortlived"}, run: serves},
	{
		name: "serves by an external account", options: options{external: []binding{tenant}, required: true},
		site: site{by: acme.HTTP01, binding: &tenant}, run: serves,
	},
	{name: "renews what is due", site: site{by: acme.HTTP01, profile: brief}, run: renews},
	{name: "asks when to renew", site: site{by: acme.HTTP01}, asks: true, run: asksWhenToRenew},
}

// of reports whether a web server is driven through the scenario.
func (s *siteScenario) of(w *webServer) bool { return !s.asks || !w.quiet }

func TestWebServersFetchTheirOwnCertificate(t *testing.T) {
	t.Parallel()
	for _, w := range webServers {
		for _, s := range siteScenarios {
			if !s.of(&w) {
				continue
			}
			t.Run(w.name+" "+s.name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), scenarioTimeout)
				defer cancel()
				l := newLab(t, target{start: startServe}, s.options)
				s.site.name = l.siteName()
				s.run(ctx, t, l, &w, s.site)
			})
		}
	}
}

// siteName is the name of the site of a test. Each has its own: certmagic keeps
// what it knows of challenges by name, in one place for the whole process.
func (l *lab) siteName() string { return fmt.Sprintf("site-%d.conformance.example", l.tlsALPN01Port) }

// serves starts a web server and looks at its certificate, as a browser does.
func serves(ctx context.Context, t *testing.T, l *lab, w *webServer, s site) {
	start := w.prepare(t, l, s)
	stop := start(t)
	defer stop()
	leaf := l.awaitSite(ctx, t, nil)
	if diff := cmp.Diff([]string{s.name}, namesOf(leaf)); diff != "" {
		t.Errorf("names of the certificate (- asked for, + found):\n%s", diff)
	}
	mustHaveProfile(t, leaf, s.profile)
}

// renews starts a web server again when its certificate is due for renewal, as it
// is from the start; it must get another one, and for that no other account.
func renews(ctx context.Context, t *testing.T, l *lab, w *webServer, s site) {
	start := w.prepare(t, l, s)
	stop := start(t)
	first := l.awaitSite(ctx, t, nil)
	stop()
	stop = start(t)
	defer stop()
	second := l.awaitSite(ctx, t, first)
	mustHaveProfile(t, second, s.profile)
	if n := l.server.metric(ctx, t, "acme_requests_total", `route="/new-account"`, `status="201"`); n != 1 {
		t.Errorf("%v accounts were made, want 1", n)
	}
}

// asksWhenToRenew wants a web server to ask for renewal information.
func asksWhenToRenew(ctx context.Context, t *testing.T, l *lab, w *webServer, s site) {
	stop := w.prepare(t, l, s)(t)
	defer stop()
	l.awaitSite(ctx, t, nil)
	if err := poll(ctx, func() error {
		if l.server.metric(ctx, t, "acme_requests_total", `route="/renewal-info/{renewal}"`, `status="200"`) == 0 {
			return fmt.Errorf("%s has asked for no renewal information", w.name)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// awaitSite connects to the web server until it has a certificate of the
// authority for its name, other than old, and returns it.
func (l *lab) awaitSite(ctx context.Context, t *testing.T, old *x509.Certificate) *x509.Certificate {
	t.Helper()
	var leaf *x509.Certificate
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: l.server.roots, ServerName: l.siteName(), MinVersion: tls.VersionTLS12}}
	err := poll(ctx, func() error {
		connection, err := dialer.DialContext(ctx, "tcp", loopback(l.tlsALPN01Port))
		if err != nil {
			return err
		}
		defer func() { _ = connection.Close() }()
		leaf = connection.(*tls.Conn).ConnectionState().PeerCertificates[0]
		if old != nil && leaf.Equal(old) {
			return fmt.Errorf("the certificate is still that with the serial number %x", old.SerialNumber)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the site has no new certificate: %v", err)
	}
	return leaf
}

// poll calls try until it succeeds, and returns its last error when ctx ends.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
