package server_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/nonce"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// moodyStore is a store whose list of revocations and kept CRLs can be had or not.
type moodyStore struct {
	acmetest.Store
	mu    sync.Mutex
	err   error
	hangs bool
}

func (m *moodyStore) set(err error, hangs bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.hangs = err, hangs
}

func (m *moodyStore) mood(ctx context.Context) error {
	m.mu.Lock()
	err, hangs := m.err, m.hangs
	m.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (m *moodyStore) Revocations(ctx context.Context, id acme.IssuerID) (acme.RevocationState, error) {
	if err := m.mood(ctx); err != nil {
		return acme.RevocationState{}, err
	}
	return m.Store.Revocations(ctx, id)
}

func (m *moodyStore) CRL(ctx context.Context, id acme.IssuerID) (acme.CRL, error) {
	if err := m.mood(ctx); err != nil {
		return acme.CRL{}, err
	}
	return m.Store.CRL(ctx, id)
}

// bubble is a server in a bubble of synctest, which is reached without a network.
type bubble struct {
	*server.Server
	store     *moodyStore
	authority *issuance.Authority
	log       *bytes.Buffer
}

// newBubble returns a server of a store with an authority of its own.
func newBubble(t *testing.T, store *moodyStore, issuer server.Issuer) *bubble {
	t.Helper()
	b := &bubble{store: store, authority: acmetest.NewAuthority(t), log: new(bytes.Buffer)}
	if err := store.RegisterIssuer(t.Context(), b.authority.Issuer()); err != nil {
		t.Fatal(err)
	}
	if issuer == nil {
		issuer = b.authority
	}
	b.Server = must(server.New(server.Config{
		Store: store, Nonces: must(nonce.New(t.Context(), nonce.Config{Keys: store}))(t), Issuer: issuer, Trusted: true,
		URLs: []string{"https://ca.test"}, Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}))(t)
	return b
}

// run runs the loop of CRLs and returns what ends it.
func (b *bubble) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.RunCRLs(ctx) }()
	synctest.Wait()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// RoundTrip implements [http.RoundTripper].
func (b *bubble) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w.Result(), nil
}

// account returns a client with an account.
func (b *bubble) account(t *testing.T) *acmetest.Client {
	t.Helper()
	c := must(acmetest.Dial(t.Context(), &http.Client{Transport: b}, "https://ca.test/directory", acmetest.NewKey(t)))(t)
	must(c.NewAccount(t.Context(), nil))(t)
	return c
}

// pass lets time pass on the bubble's own clock.
func pass(d time.Duration) { <-time.After(d); synctest.Wait() }

// get fetches the CRL of an issuer.
func (b *bubble) get(t *testing.T, id acme.IssuerID) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	b.Distribution().ServeHTTP(w, httptest.NewRequest(http.MethodGet, issuance.CRLPath(id), nil))
	return w
}

// kept returns the CRL that the store keeps.
func (b *bubble) kept(t *testing.T) *x509.RevocationList {
	t.Helper()
	crl := must(b.store.Store.CRL(t.Context(), b.authority.ID()))(t)
	return must(x509.ParseRevocationList(crl.DER))(t)
}

func TestACRLIsSignedAtTheStartAfterARevocationAndAtHalfOfItsTimeThoughNobodyFetchesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, &moodyStore{Store: acmetest.NewMemory()}, nil)
		stop := b.run(t)
		first := b.kept(t)
		pass(11 * time.Hour)
		if b.kept(t).Number.Cmp(first.Number) != 0 {
			t.Error("it was signed anew before half of its time was over")
		}
		pass(time.Hour + time.Minute)
		second := b.kept(t)
		if second.Number.Cmp(first.Number) <= 0 {
			t.Errorf("after half of its time it is still of %v", second.ThisUpdate)
		}
		c := b.account(t)
		cert, other := issueFor(t, c, "a.example").cert, issueFor(t, c, "b.example").cert
		revoke(t, c, cert, 1)
		pass(10 * time.Second)
		if third := b.kept(t); len(third.RevokedCertificateEntries) != 1 || third.Number.Cmp(second.Number) <= 0 {
			t.Errorf("after a revocation it has %v", third.RevokedCertificateEntries)
		}
		revoke(t, c, other, 1)
		stop()
		if last := b.kept(t); len(last.RevokedCertificateEntries) != 2 {
			t.Errorf("after a revocation just before the end it has %v", last.RevokedCertificateEntries)
		}
	})
}

func TestTheLastCRLIsServedUntilItsEndWhileTheStoreDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for name, mood := range map[string]struct {
		err   error
		hangs bool
	}{"it fails": {acme.ErrUnavailable, false}, "it is silent": {nil, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, &moodyStore{Store: acmetest.NewMemory()}, nil)
				before := b.get(t, b.authority.ID()).Body.Bytes()
				b.store.set(mood.err, mood.hangs)
				pass(23*time.Hour + 58*time.Minute)
				asked := time.Now()
				w := b.get(t, b.authority.ID())
				if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), before) || time.Since(asked) > 5*time.Second {
					t.Errorf("status %d after %s", w.Code, time.Since(asked))
				}
				if got := w.Header().Get("Cache-Control"); got != "public, max-age=120" && got != "public, max-age=118" {
					t.Errorf("Cache-Control is %q; want no more than is left", got)
				}
				pass(time.Hour)
				if w := b.get(t, b.authority.ID()); w.Code != http.StatusServiceUnavailable {
					t.Errorf("after its end: status %d", w.Code)
				}
				b.store.set(nil, false)
				synctest.Wait() // for the work that all waited for in vain
				if w := b.get(t, b.authority.ID()); w.Code != http.StatusOK || bytes.Equal(w.Body.Bytes(), before) {
					t.Errorf("with the store again: status %d", w.Code)
				}
			})
		})
	}
}

func TestTheLastCRLOfAFormerIssuerIsKeptByCachesUntilItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &moodyStore{Store: acmetest.NewMemory()}
		before := newBubble(t, store, nil)
		before.run(t)()
		after := newBubble(t, store, nil) // another key signs
		for _, tt := range []struct {
			later time.Duration
			err   error
			want  string
		}{
			{0, nil, "public, max-age=300"},
			{time.Hour, acme.ErrUnavailable, "public, max-age=300"},
			{22*time.Hour + 59*time.Minute, nil, "public, max-age=60"},
			{time.Minute, nil, "no-store"},
			{time.Hour, acme.ErrUnavailable, "no-store"},
		} {
			pass(tt.later)
			store.set(tt.err, false)
			w := after.get(t, before.authority.ID())
			if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != tt.want {
				t.Errorf("%s later, store %v: status %d, Cache-Control %q; want %q", tt.later, tt.err, w.Code, w.Header().Get("Cache-Control"), tt.want)
			}
		}
		store.set(nil, false)
		if w := after.get(t, acme.IssuerID{1}); w.Code != http.StatusNotFound {
			t.Errorf("of an issuer that never was: status %d", w.Code)
		}
	})
}

func TestARevocationThatNoCRLWillListIsInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &moodyStore{Store: acmetest.NewMemory()}
		before := newBubble(t, store, nil)
		c := before.account(t)
		cert, other := issueFor(t, c, "a.example").cert, issueFor(t, c, "b.example").cert
		if resp := revoke(t, c, cert, 0); resp.Status != http.StatusOK || before.log.Len() > 0 {
			t.Errorf("while its issuer signs: status %d, log %s", resp.Status, before.log)
		}
		after := newBubble(t, store, nil) // another key signs
		c.HTTP = &http.Client{Transport: after}
		resp := revoke(t, c, other, 0)
		if resp.Status != http.StatusOK || !strings.Contains(after.log.String(), acme.RenewalIDOf(other).Serial.String()) {
			t.Errorf("after another signs: status %d, log %q; want it to name the certificate", resp.Status, after.log)
		}
	})
}

// noCRLs is an issuer that may not sign CRLs.
type noCRLs struct{ *issuance.Authority }

func (noCRLs) SignCRL(context.Context, acme.RevocationState) (acme.CRL, error) {
	return acme.CRL{}, errors.Join(errors.New("no crl sign"), acme.ErrNotFound)
}

func TestAnIssuerThatMayNotSignCRLsIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, &moodyStore{Store: acmetest.NewMemory()}, noCRLs{acmetest.NewAuthority(t)})
		if err := b.RunCRLs(t.Context()); err != nil || b.log.Len() > 0 {
			t.Errorf("error %v, log %s", err, b.log)
		}
	})
}

func TestThoseWhoFetchCRLsTakeNoPlaceFromACMEClients(t *testing.T) {
	t.Parallel()
	store := &stuckStore{Store: acmetest.NewMemory(), asked: make(chan struct{}), goOn: make(chan struct{})}
	s := acmetest.StartServer(t, store, server.Config{MaxRequests: 1})
	var wait sync.WaitGroup
	for range 3 { // more than the server works on of ACME's
		wait.Go(func() {
			w := httptest.NewRecorder()
			s.Handler.Distribution().ServeHTTP(w, httptest.NewRequest(http.MethodGet, issuance.CRLPath(acme.IssuerID{1}), nil))
			if w.Code != http.StatusNotFound {
				t.Errorf("status %d", w.Code)
			}
		})
	}
	for range 3 {
		<-store.asked
	}
	if _, err := s.NewAccount(t).NewOrder(t.Context(), "a.example"); err != nil {
		t.Error(err)
	}
	close(store.goOn)
	wait.Wait()
}
