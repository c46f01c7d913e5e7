package issuance

import (
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a signer that waits for each signature to be let through. A nil
// channel lets all through.
type gate struct {
	crypto.Signer
	pass chan error
}

func (g *gate) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if g.pass != nil {
		if err := <-g.pass; err != nil {
			return nil, err
		}
	}
	return g.Signer.Sign(rand, digest, opts)
}

// newServerCertificate returns a certificate of a week, whose authority has the
// clock of the bubble, with the gate of its signer.
func newServerCertificate(t *testing.T) (*ServerCertificate, *gate) {
	t.Helper()
	c := newCA(t, ECDSAP256, time.Now).config()
	g := &gate{Signer: c.Signer}
	c.Signer, c.Clock = g, time.Now
	s, err := NewServerCertificate(ServerCertificateConfig{Authority: mustNew(t, c), Hosts: []string{"internal.pki.svc", "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	return s, g
}

func get(t *testing.T, s *ServerCertificate) *tls.Certificate {
	t.Helper()
	c, err := s.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheServersCertificateIsRenewedWithoutAHandshakeThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g := newServerCertificate(t)
		first := get(t, s)
		time.Sleep(4 * 24 * time.Hour) //nolint:forbidigo // the bubble's clock: nothing waits
		if get(t, s) != first {
			t.Fatal("renewed before two thirds of its life")
		}
		time.Sleep(24 * time.Hour) //nolint:forbidigo // the bubble's clock
		g.pass = make(chan error)
		for range 10 { // the signer is stuck, and handshakes go on
			if get(t, s) != first {
				t.Fatal("renewed while the signer was stuck")
			}
		}
		g.pass <- nil // one renewal alone waits: a second would be left, and the bubble would fail
		synctest.Wait()
		second := get(t, s)
		if second == first || !second.Leaf.NotAfter.After(first.Leaf.NotAfter) {
			t.Errorf("not renewed: ends at %s, then at %s", first.Leaf.NotAfter, second.Leaf.NotAfter)
		}
	})
}

func TestARenewalThatFailsIsTriedAgainAMinuteLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g := newServerCertificate(t)
		first := get(t, s)
		time.Sleep(5 * 24 * time.Hour) //nolint:forbidigo // the bubble's clock
		g.pass = make(chan error)
		get(t, s)
		g.pass <- errors.New("no key today")
		synctest.Wait()
		if get(t, s) != first { // would block the bubble if it tried at once
			t.Fatal("another certificate after a failure")
		}
		time.Sleep(renewalRetry) //nolint:forbidigo // the bubble's clock
		get(t, s)
		g.pass <- nil
		synctest.Wait()
		if get(t, s) == first {
			t.Error("not renewed at the second try")
		}
	})
}

func TestAServerThatWasIdleMakesItsCertificateAtTheHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g := newServerCertificate(t)
		time.Sleep(30 * 24 * time.Hour) //nolint:forbidigo // the bubble's clock
		g.pass = make(chan error, 1)
		g.pass <- errors.New("no key today")
		if _, err := s.GetCertificate(nil); err == nil || !strings.Contains(err.Error(), "no key today") {
			t.Errorf("got %v", err)
		}
		g.pass = nil
		if c := get(t, s); c.Leaf.NotAfter.Before(time.Now()) {
			t.Errorf("serves what ended at %s", c.Leaf.NotAfter)
		}
	})
}

func TestAClientThatTrustsTheRootReachesEveryHost(t *testing.T) {
	t.Parallel()
	ca := newCA(t, ECDSAP256, time.Now)
	c := ca.config()
	c.Clock = time.Now
	s, err := NewServerCertificate(ServerCertificateConfig{Authority: mustNew(t, c), Hosts: []string{"internal.pki.svc", "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"internal.pki.svc", "127.0.0.1"} {
		near, far := net.Pipe()
		server := tls.Server(far, &tls.Config{GetCertificate: s.GetCertificate})
		done := make(chan error, 1)
		go func() { done <- server.HandshakeContext(t.Context()) }()
		err := tls.Client(near, &tls.Config{RootCAs: pool(c.Roots), ServerName: host}).HandshakeContext(t.Context())
		if err := errors.Join(err, <-done); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestHostsThatCannotBeCertified(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, hosts := range [][]string{nil, {"a_b.example"}, {"127.0.0.1:8443"}} {
		if _, err := NewServerCertificate(ServerCertificateConfig{Authority: a, Hosts: hosts}); err == nil {
			t.Errorf("made a certificate for %q", hosts)
		}
	}
}
