package issuance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// defaultServerLifetime is how long a certificate of the server's own lasts.
const defaultServerLifetime = 7 * 24 * time.Hour

// renewalRetry is how long after a renewal that did not succeed another is tried.
const renewalRetry = time.Minute

// ServerCertificateConfig is what a [ServerCertificate] is made of.
type ServerCertificateConfig struct {
	// Authority signs it.
	Authority *Authority
	// Hosts are its names: domain names and addresses, without ports.
	Hosts []string
	// Lifetime of each certificate, renewed at two thirds of it; default 7 days.
	Lifetime time.Duration
	// Logger is told of every certificate made; default none.
	Logger *slog.Logger
}

// ServerCertificate is the certificate that the server itself is reached with,
// made by its own authority, kept in memory and renewed as it is used.
//
// It has no row in the store, for three reasons. The server must be able to say
// over TLS that its store cannot be asked (503), so that its certificate cannot
// wait for the store. A row is there for an account to read and revoke what it
// has been given, and this belongs to none. And its key never leaves the process
// that made it. In place of the row, the serial number of each is logged.
type ServerCertificate struct {
	authority   *Authority
	identifiers []acme.Identifier
	lifetime    time.Duration
	logger      *slog.Logger

	mu       sync.Mutex
	current  *tls.Certificate
	renewAt  time.Time // when the next renewal is due
	renewing bool      // somebody is at it
}

// NewServerCertificate makes the first certificate, so that an error of the
// configuration is found at once.
func NewServerCertificate(c ServerCertificateConfig) (*ServerCertificate, error) {
	if len(c.Hosts) == 0 {
		return nil, errors.New("server certificate: there is no host")
	}
	s := &ServerCertificate{authority: c.Authority, lifetime: c.Lifetime, logger: c.Logger}
	if s.lifetime == 0 {
		s.lifetime = defaultServerLifetime
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	for _, host := range c.Hosts {
		typ := acme.DNS
		if _, err := netip.ParseAddr(host); err == nil {
			typ = acme.IP
		}
		id, err := acme.ParseIdentifier(string(typ), host)
		if err != nil {
			return nil, fmt.Errorf("server certificate: %w", err)
		}
		s.identifiers = append(s.identifiers, id)
	}
	s.identifiers = acme.SortIdentifiers(s.identifiers)
	made, err := s.issue()
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	s.take(made)
	return s, nil
}

// GetCertificate is for [tls.Config]. A handshake never waits for a renewal
// unless the certificate has ended, as that of an idle server can.
func (s *ServerCertificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.clock()
	if now.After(s.current.Leaf.NotAfter) {
		// Under the lock: whoever comes now has nothing better to do than wait.
		made, err := s.issue()
		if err != nil {
			return nil, fmt.Errorf("server certificate: %w", err)
		}
		s.take(made)
	}
	if !s.renewing && !now.Before(s.renewAt) {
		s.renewing = true
		go s.renew()
	}
	return s.current, nil
}

// renew makes the next certificate while the current one goes on being served.
func (s *ServerCertificate) renew() {
	made, err := s.issue()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewing = false
	if err != nil {
		s.renewAt = s.authority.clock().Add(renewalRetry)
		s.logger.Error("the server's own certificate was not renewed",
			"error", err, "notAfter", s.current.Leaf.NotAfter, "retryAt", s.renewAt)
		return
	}
	s.take(made)
}

// take makes a certificate the current one, with s.mu held.
func (s *ServerCertificate) take(made *tls.Certificate) {
	s.current = made
	// Two thirds of what it was given, which may be less than was asked for.
	s.renewAt = made.Leaf.NotBefore.Add(made.Leaf.NotAfter.Sub(made.Leaf.NotBefore) * 2 / 3)
	if now := s.authority.clock(); s.renewAt.Before(now) {
		// Near the issuer's end no certificate lasts: not one for each handshake.
		s.renewAt = now.Add(renewalRetry)
	}
}

// issue makes a certificate with a new key.
func (s *ServerCertificate) issue() (*tls.Certificate, error) {
	key, err := GenerateKey(ECDSAP256)
	if err != nil {
		return nil, err
	}
	profile := Profile{Lifetime: s.lifetime, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	order := &acme.Order{Identifiers: s.identifiers}
	template, err := s.authority.template(profile, order, key.Public(), s.authority.clock())
	if err != nil {
		return nil, err
	}
	leaf, err := s.authority.sign(template, key.Public())
	if err != nil {
		return nil, err
	}
	made := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, c := range s.authority.chain {
		made.Certificate = append(made.Certificate, c.Raw)
	}
	s.logger.LogAttrs(context.Background(), slog.LevelInfo, "made the server's own certificate",
		slog.String("serial", serialOf(leaf).String()), slog.String("hosts", fmt.Sprint(s.identifiers)), slog.Time("notAfter", leaf.NotAfter))
	return made, nil
}
