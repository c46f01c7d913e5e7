package conformance

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	zacme "github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// prepareCertmagic makes a web server of this process, as users of the library do.
func prepareCertmagic(_ *testing.T, l *lab, s site) func(*testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		log := zap.NewNop()
		var cfg *certmagic.Config
		cache := certmagic.NewCache(certmagic.CacheOptions{
			GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return cfg, nil }, Logger: log,
		})
		cfg = certmagic.New(cache, certmagic.Config{Storage: &certmagic.FileStorage{Path: filepath.Join(l.dir, "certmagic")}, Logger: log})
		cfg.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(cfg, s.certmagicIssuer(l, log))}
		ctx, cancel := context.WithCancel(t.Context())
		server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: 10 * time.Second}
		var listener net.Listener
		// What another test is about to execute has the port of before until it does.
		if err := settles(func() (err error) {
			listener, err = tls.Listen("tcp", loopback(l.tlsALPN01Port), cfg.TLSConfig())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		go func() { _ = server.Serve(listener) }() // ends by Close
		if err := cfg.ManageAsync(ctx, []string{s.name}); err != nil {
			t.Error(err)
		}
		return func() {
			cancel()
			cache.Stop()
			_ = server.Close()
		}
	}
}

// certmagicIssuer returns what a library's user says of a certificate authority.
func (s *site) certmagicIssuer(l *lab, log *zap.Logger) certmagic.ACMEIssuer {
	issuer := certmagic.ACMEIssuer{
		CA: l.server.directory, TestCA: l.server.directory, TrustedRoots: l.server.roots,
		Email: "admin@conformance.example", Agreed: true, Profile: s.profile,
		DisableHTTPChallenge: s.by != acme.HTTP01, DisableTLSALPNChallenge: s.by != acme.TLSALPN01,
		ListenHost: "127.0.0.1", AltHTTPPort: l.http01Port, AltTLSALPNPort: l.tlsALPN01Port, Logger: log,
	}
	if s.binding != nil {
		issuer.ExternalAccount = &zacme.EAB{KeyID: s.binding.kid, MACKey: s.binding.encodedKey()}
	}
	return issuer
}
