package faults

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	shared "github.com/acme-ca/acme-ca-operator/test/invariants"
)

const (
	// workers is how many accounts order at once, each one order after the other.
	workers = 8
	// clientTimeout is what a client waits for an answer: longer than any server takes.
	clientTimeout = 45 * time.Second
	// mostPatience bounds the time that a client stays away, whatever Retry-After says:
	// the servers have no rest.
	mostPatience = time.Second
	// drainTimeout bounds the time that an order takes to its end once all is well: a
	// validation whose server died is taken over when its lease of 30 s has run out.
	drainTimeout = time.Minute
)

// load is what clients do in a run, and what they were given.
type load struct {
	fleet    *fleet
	recorder *recorder
	mode     mode
	clients  []*acmetest.Client // of the workers
	greedy   greedy

	stop    atomic.Bool // no new orders
	running sync.WaitGroup

	mu         sync.Mutex
	deliveries []shared.Delivery // with the URLs of their orders
	faults     []error           // what no client should have to see
}

// newLoad makes the accounts of the clients and sets the limits for them.
func newLoad(t *testing.T, f *fleet, m mode) *load {
	t.Helper()
	l := &load{fleet: f, mode: m, recorder: &recorder{replicas: f.replicas}}
	for _, r := range f.replicas {
		l.recorder.transports = append(l.recorder.transports, &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", r.acme)
			},
			TLSClientConfig:     r.tls,
			MaxIdleConnsPerHost: workers,
		})
	}
	t.Cleanup(func() {
		for _, transport := range l.recorder.transports {
			transport.CloseIdleConnections()
		}
	})
	l.greedy.prepare(t, l)
	for range workers {
		l.clients = append(l.clients, l.newAccount(t))
	}
	l.greedy.limit(t, l)
	return l
}

// dial returns a client with a new key, and no account.
func (l *load) dial(ctx context.Context, key crypto.Signer) (*acmetest.Client, error) {
	return acmetest.Dial(ctx, &http.Client{Transport: l.recorder, Timeout: clientTimeout}, serviceURL+"/directory", key)
}

// newAccount returns a client with a new account.
func (l *load) newAccount(t *testing.T) *acmetest.Client {
	t.Helper()
	c, err := l.dial(t.Context(), acmetest.NewKey(t))
	if err != nil {
		t.Fatal(err)
	}
	// A nonce is refused as often as the recorder's second copy of a request is first,
	// and the client's own patience is one refusal.
	var account struct{ Status acme.AccountStatus }
	if c.Account, err = l.ask(c, c.Directory.NewAccount, map[string]any{"termsOfServiceAgreed": true}, &account); err != nil {
		t.Fatal(err)
	}
	return c
}

// begin starts the clients.
func (l *load) begin(t *testing.T) {
	t.Helper()
	for i, c := range l.clients {
		key := acmetest.NewKey(t)
		l.running.Go(func() {
			for n := 0; !l.stop.Load(); n++ {
				if err := l.order(c, key, fmt.Sprintf("n%d.w%d.load.test", n, i)); err != nil {
					l.fault(fmt.Errorf("order %d of client %d: %w", n, i, err))
					return
				}
			}
		})
	}
	l.running.Go(func() { l.greedy.run(t, l) })
	l.running.Go(l.replay)
}

// end lets the clients bring what they began to its end.
func (l *load) end() {
	l.stop.Store(true)
	l.running.Wait()
	l.recorder.duplicates.Wait()
}

// fault notes what no client should have to see.
func (l *load) fault(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, err)
}

// order gets one certificate, however long it takes.
func (l *load) order(c *acmetest.Client, key crypto.Signer, name string) error {
	var o acmetest.Order
	url, err := l.ask(c, c.Directory.NewOrder, map[string]any{"identifiers": []acme.Identifier{{Type: acme.DNS, Value: name}}}, &o)
	if err != nil {
		return fmt.Errorf("newOrder: %w", err)
	}
	ctx, cancel := l.whileRunning()
	defer cancel()
	for _, authorization := range o.Authorizations {
		if l.mode == trusted {
			break
		}
		if err := l.authorize(ctx, c, authorization); err != nil {
			return fmt.Errorf("%s: %w", url, err)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		return err
	}
	if _, err := l.ask(c, o.Finalize, map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)}, &o); err != nil {
		return fmt.Errorf("finalize %s: %w", url, err)
	}
	if o.Status != acme.OrderValid {
		return fmt.Errorf("finalize %s: the order is %s", url, o.Status)
	}
	// What another server has committed is seen by all.
	if _, err := l.ask(c, url, nil, &o); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if o.Status != acme.OrderValid {
		return fmt.Errorf("%s: the order is %s, and finalize said that it is valid", url, o.Status)
	}
	var chain []byte
	if _, err := l.ask(c, o.Certificate, nil, &chain); err != nil {
		return fmt.Errorf("certificate of %s: %w", url, err)
	}
	block, _ := pem.Decode(chain)
	if block == nil {
		return fmt.Errorf("certificate of %s: no PEM", url)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deliveries = append(l.deliveries, shared.Delivery{URL: url, DER: block.Bytes})
	return nil
}

// authorize proves control of an identifier by http-01.
func (l *load) authorize(ctx context.Context, c *acmetest.Client, url string) error {
	var a acmetest.Authorization
	if _, err := l.ask(c, url, nil, &a); err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	thumbprint, err := acme.ThumbprintOf(&jose.JSONWebKey{Key: c.Key.Public()})
	if err != nil {
		return err
	}
	challenge := a.Challenges[0]
	l.fleet.responder.Set(challenge.Token, acme.KeyAuthorization(challenge.Token, thumbprint))
	defer l.fleet.responder.Remove(challenge.Token)
	for respond := true; ; wait(ctx, pollInterval) {
		if respond {
			if _, err := l.ask(c, challenge.URL, struct{}{}, &challenge); err != nil {
				return fmt.Errorf("challenge: %w", err)
			}
		}
		if _, err := l.ask(c, url, nil, &a); err != nil {
			return fmt.Errorf("authorization: %w", err)
		}
		switch a.Status {
		case acme.AuthorizationValid:
			return nil
		case acme.AuthorizationPending:
			// A crash of the database may forget a response; clients say it again.
			respond = a.Challenges[0].Status == acme.ChallengePending
		default:
			return fmt.Errorf("the authorization is %s: %w", a.Status, a.Challenges[0].Error)
		}
		if ctx.Err() != nil {
			return errors.New("the authorization stays " + string(a.Status))
		}
	}
}

// pollInterval is how often a client looks at an authorization.
const pollInterval = 100 * time.Millisecond

// whileRunning returns a context that ends a while after the clients were told to stop.
func (l *load) whileRunning() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		for left := drainTimeout; left > 0; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if l.stop.Load() {
				left -= pollInterval
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// ask sends a request until it is answered by something else than a word to come
// back, reads the answer into v, and returns its Location.
func (l *load) ask(c *acmetest.Client, url string, payload, v any) (location string, err error) {
	ctx, cancel := l.whileRunning()
	defer cancel()
	for {
		answer, err := c.Post(ctx, url, payload)
		switch {
		case ctx.Err() != nil:
			return "", errors.New("it is not answered")
		case err != nil:
			wait(ctx, pollInterval)
		case answer.Status == http.StatusServiceUnavailable:
			wait(ctx, patience(answer))
		case answer.Problem != nil && answer.Problem.Type == acme.BadNonce:
		case answer.Status >= http.StatusBadRequest:
			return "", answer.Err()
		default:
			if text, ok := v.(*[]byte); ok {
				*text = answer.Body
				return "", nil
			}
			return answer.Header.Get("Location"), answer.Decode(v)
		}
	}
}

// patience is how long a client stays away after an answer.
func patience(answer *acmetest.Response) time.Duration {
	said, err := time.ParseDuration(answer.Header.Get("Retry-After") + "s")
	if err != nil {
		return pollInterval
	}
	return min(said, mostPatience)
}

// replay sends again what was sent before, as one does who has recorded it.
func (l *load) replay() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Transport: replayer{l.recorder}, Timeout: clientTimeout}
	for ; !l.stop.Load(); <-tick.C {
		if m, ok := l.recorder.old(); ok {
			m.send(client)
		}
	}
}
