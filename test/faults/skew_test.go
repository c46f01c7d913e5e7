package faults

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/nonce"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// skew is how far the clocks of two replicas are from that of the third, which is the
// database's: certificates begin five minutes before they are made, so that more would
// show in them.
const skew = 4 * time.Minute

// startSkewedFleet starts servers whose clocks are wrong. A clock cannot be set for one
// process, so they are in this one; all else is as startFleet has it.
func startSkewedFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{roots: x509.NewCertPool()}
	f.startDatabase(t, "")
	files := f.config(t, trusted).CertificateAuthority
	for i, clock := range []time.Duration{-skew, 0, skew} {
		now := func() time.Time { return time.Now().Add(clock) }
		r := &replica{number: i + 1}
		r.ready.Store(true)
		r.acme, r.tls = f.serve(t, now, readAuthority(t, files, now))
		f.replicas = append(f.replicas, r)
	}
	return f
}

// serve serves the database by a clock, and returns where and how it is reached.
func (f *fleet) serve(t *testing.T, now func() time.Time, authority *issuance.Authority) (string, *tls.Config) {
	t.Helper()
	store := postgrestest.Open(t, postgres.Config{URL: f.url})
	if err := store.RegisterIssuer(t.Context(), authority.Issuer()); err != nil {
		t.Fatal(err)
	}
	sealer, err := nonce.New(t.Context(), nonce.Config{Keys: store, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	limiter := ratelimit.New(acme.RateLimitPolicy{})
	handler, err := server.New(server.Config{
		Store: store, Nonces: sealer, Issuer: authority, Limits: limiter, URLs: []string{serviceURL}, Trusted: true, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	go limiter.Run(t.Context(), store, acme.NewToken(), func(error) {}) // the last call is one of a store that is closed
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	client := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.ServerName = "example.com" // what httptest has a certificate for
	return s.Listener.Addr().String(), client
}

// noFault lets the time pass: the clocks are wrong from the beginning.
func noFault(t *testing.T, _ *load, hold time.Duration) time.Time {
	t.Helper()
	began := time.Now()
	wait(t.Context(), hold)
	return began
}

// readAuthority reads an authority that signs by a clock.
func readAuthority(t *testing.T, c config.CertificateAuthority, now func() time.Time) *issuance.Authority {
	t.Helper()
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := issuance.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := issuance.New(issuance.Config{
		Chain: readCertificates(t, c.CertificateFile), Roots: readCertificates(t, c.RootsFile), Signer: signer, Clock: now,
		Profiles: []issuance.Profile{{Name: "server", Lifetime: time.Hour, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// readCertificates reads a file of certificates.
func readCertificates(t *testing.T, path string) []*x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := issuance.ParseCertificates(data)
	if err != nil {
		t.Fatal(err)
	}
	return certificates
}
