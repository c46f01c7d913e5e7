package generator

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// How often what is not done at once is asked for: the first time soon, so that a
// server which answers before it is done loses no throughput by our patience.
const (
	firstPoll   = 2 * time.Millisecond
	longestPoll = 50 * time.Millisecond
	pollTimeout = 30 * time.Second
)

// worker runs flows, one after the other, of its accounts in turn.
type worker struct {
	generator *Generator
	conn      *connection
	clients   []*client
	turn      int
	record    *record
}

// client is an account as one worker has it.
type client struct {
	*acmetest.Client
	account *account
	// order and replaces are of the certificate before, where it is to be renewed.
	order    *order
	replaces string
}

// newWorker returns the worker i. The accounts are dealt out to the workers; where
// there are fewer, several workers share one.
func (g *Generator) newWorker(i int, accounts []*account, directory *acmetest.Directory) *worker {
	w := &worker{generator: g, conn: newConnection(g.config.Roots)}
	for n := i % len(accounts); n < len(accounts); n += g.config.Workers {
		a := accounts[n]
		w.clients = append(w.clients, &client{account: a, Client: &acmetest.Client{
			HTTP: &http.Client{Transport: w.conn}, Directory: *directory, Key: a.key, Account: a.url,
		}})
	}
	return w
}

// run runs flows as the schedule says.
func (w *worker) run(ctx context.Context, s *schedule) {
	for {
		due, more := s.next()
		if !more || !sleep(ctx, due) {
			return
		}
		c := w.clients[w.turn%len(w.clients)]
		w.turn++
		f := flow{worker: w, client: c, step: NewOrder}
		err := f.run(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			w.record.took(Flow, time.Since(due))
		default:
			w.record.failed(f.step, err)
			c.order, c.replaces = nil, ""
			if !sleep(ctx, time.Now().Add(afterFailure)) {
				return
			}
		}
	}
}

// flow is one issuance.
type flow struct {
	*worker
	client *client
	step   Step // the one that it is at, or failed at
}

// run issues a certificate.
func (f *flow) run(ctx context.Context) error {
	o, payload, err := f.prepare(ctx)
	if err != nil {
		return err
	}
	resp, err := f.post(ctx, NewOrder, f.client.Directory.NewOrder, payload)
	if err != nil {
		return err
	}
	placed := acmetest.Order{URL: resp.Header.Get("Location")}
	if err := resp.Decode(&placed); err != nil {
		return err
	}
	if placed.Status == acme.OrderPending {
		if err := f.proveAll(ctx, placed.Authorizations); err != nil {
			return err
		}
	}
	if err := f.finalize(ctx, &placed, o); err != nil {
		return err
	}
	return f.download(ctx, placed.Certificate, o)
}

// prepare returns the order to send and the payload of newOrder: a new one, or that
// of the certificate before, if it is to be renewed.
func (f *flow) prepare(ctx context.Context) (*order, any, error) {
	c := f.client
	if c.replaces == "" {
		o := f.generator.config.Orders.next()
		return o, o.newOrder, nil
	}
	f.step = RenewalInfo
	began := time.Now()
	resp, err := c.Get(ctx, c.Directory.RenewalInfo+"/"+c.replaces)
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return nil, nil, err
	}
	f.record.took(RenewalInfo, time.Since(began))
	return c.order, newOrderJSON{Identifiers: c.order.names, Replaces: c.replaces}, nil
}

// post sends a request of a step and enters how long it took, where it succeeds.
func (f *flow) post(ctx context.Context, step Step, url string, payload any) (*acmetest.Response, error) {
	f.step = step
	began := time.Now()
	resp, err := f.client.Post(ctx, url, payload)
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return nil, err
	}
	f.record.took(step, time.Since(began))
	return resp, nil
}

// proveAll proves control of the identifiers of an order.
func (f *flow) proveAll(ctx context.Context, authorizations []string) error {
	if f.generator.config.Mode == Trusted {
		return errors.New("the order is pending: the server does not trust the account, or the mode is wrong")
	}
	for _, url := range authorizations {
		resp, err := f.post(ctx, Authorization, url, nil)
		if err != nil {
			return err
		}
		var a acmetest.Authorization
		if err := resp.Decode(&a); err != nil {
			return err
		}
		if a.Status == acme.AuthorizationValid {
			continue
		}
		if err := f.prove(ctx, url, &a); err != nil {
			return err
		}
	}
	return nil
}

// prove answers the http-01 challenge of an authorization.
func (f *flow) prove(ctx context.Context, url string, a *acmetest.Authorization) error {
	i := slices.IndexFunc(a.Challenges, func(c acmetest.Challenge) bool { return c.Type == acme.HTTP01 })
	if i < 0 {
		return errors.New("the authorization has no http-01 challenge")
	}
	challenge := &a.Challenges[i]
	responder := f.generator.config.Responders.HTTP01
	responder.Set(challenge.Token, acme.KeyAuthorization(challenge.Token, f.client.account.thumbprint))
	defer responder.Remove(challenge.Token)
	resp, err := f.post(ctx, Challenge, challenge.URL, []byte("{}"))
	if err != nil {
		return err
	}
	if err := resp.Decode(challenge); err != nil || challenge.Status == acme.ChallengeValid {
		return err
	}
	return f.poll(ctx, url, func(resp *acmetest.Response) (bool, error) {
		if err := resp.Decode(a); err != nil {
			return false, err
		}
		if a.Status == acme.AuthorizationInvalid {
			return false, fmt.Errorf("the authorization is invalid: %s", acme.Excerpt(string(resp.Body)))
		}
		return a.Status == acme.AuthorizationValid, nil
	})
}

// finalize sends the CSR and waits for the certificate.
func (f *flow) finalize(ctx context.Context, placed *acmetest.Order, o *order) error {
	resp, err := f.post(ctx, Finalize, placed.Finalize, o.finalize)
	if err != nil {
		return err
	}
	done := func(resp *acmetest.Response) (bool, error) {
		if err := resp.Decode(placed); err != nil {
			return false, err
		}
		if placed.Status == acme.OrderInvalid {
			return false, fmt.Errorf("the order is invalid: %s", acme.Excerpt(string(resp.Body)))
		}
		return placed.Status == acme.OrderValid, nil
	}
	if valid, err := done(resp); valid || err != nil {
		return err
	}
	return f.poll(ctx, placed.URL, done)
}

// poll asks for an object until done says so.
func (f *flow) poll(ctx context.Context, url string, done func(*acmetest.Response) (bool, error)) error {
	deadline := time.Now().Add(pollTimeout)
	for wait := firstPoll; ; wait = min(2*wait, longestPoll) {
		if !sleep(ctx, time.Now().Add(wait)) {
			return ctx.Err()
		}
		resp, err := f.post(ctx, Poll, url, nil)
		if err != nil {
			return err
		}
		if finished, err := done(resp); finished || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not done after %s", url, pollTimeout)
		}
	}
}

// download fetches the certificate, and remembers it where it will be renewed.
func (f *flow) download(ctx context.Context, url string, o *order) error {
	resp, err := f.post(ctx, Certificate, url, nil)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(bytes.TrimSpace(resp.Body), []byte("-----BEGIN CERTIFICATE-----")) {
		return fmt.Errorf("no certificate: %s", acme.Excerpt(string(resp.Body)))
	}
	if !f.generator.config.Renew {
		return nil
	}
	block, _ := pem.Decode(resp.Body)
	if block == nil {
		return fmt.Errorf("no certificate: %s", acme.Excerpt(string(resp.Body)))
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	f.client.order, f.client.replaces = o, acmetest.RenewalID(leaf)
	return nil
}
