package faults

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// exchange is a request and what the client saw of it.
type exchange struct {
	began, ended time.Time
	route        string // the first part of the path
	nonce        string // of the JWS; empty for a GET
	order        string // the Location of a new order
	status       int    // 0 where there was no answer
	problem      acme.ProblemType
	comeBack     bool   // the answer has a Retry-After
	lost         string // why there was no answer
}

// failure names what a client did not get, or is empty. That a nonce was refused is
// part of the protocol (RFC 8555 §6.5), and that a limit was met is what limits are
// for.
func (e *exchange) failure() string {
	switch {
	case e.status == 0:
		return e.lost
	case e.status >= http.StatusInternalServerError:
		return http.StatusText(e.status)
	}
	return ""
}

// message is a signed request as it was sent.
type message struct {
	url  string
	body []byte
}

// recorder has the clients' view of a run. It is what all requests go through: it
// picks a replica for each, as a Service does, so that the steps of one order are
// those of several servers.
type recorder struct {
	replicas   []*replica
	transports []*http.Transport
	duplicates sync.WaitGroup

	mu        sync.Mutex
	exchanges []exchange
	messages  []message // some of those sent, to be sent again
}

// duplicated is the share of signed requests that are sent twice at once, to two
// replicas where there are as many.
const duplicated = 0.05

// kept bounds how many messages are kept to be sent again.
const kept = 1000

// RoundTrip sends a request to a replica that is ready; it implements
// [http.RoundTripper].
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
	}
	if request.Method == http.MethodPost {
		r.keep(request.URL.String(), body)
		if rand.Float64() < duplicated {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(request.Context()), clientTimeout)
			again := request.Clone(ctx)
			r.duplicates.Go(func() {
				defer cancel()
				_, _ = r.send(again, body) // recorded like all
			})
		}
	}
	return r.send(request.Clone(request.Context()), body)
}

// keep keeps some of the messages.
func (r *recorder) keep(url string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := message{url, body}
	if len(r.messages) < kept {
		r.messages = append(r.messages, m)
	} else {
		r.messages[rand.N(kept)] = m
	}
}

// old returns a message that was sent before, or false.
func (r *recorder) old() (message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.messages) == 0 {
		return message{}, false
	}
	return r.messages[rand.N(len(r.messages))], true
}

// errNoEndpoint is what a client of a Service sees that no replica is ready behind.
var errNoEndpoint = errors.New("no replica is ready")

// send sends a request with its body and records what came of it.
func (r *recorder) send(request *http.Request, body []byte) (*http.Response, error) {
	route, _, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/"), "/")
	e := exchange{began: time.Now(), route: route, nonce: nonceOf(body)}
	answer, text, err := r.exchange(request, body)
	e.ended = time.Now()
	if err != nil {
		e.lost = kindOf(err)
	} else {
		e.status, e.comeBack = answer.StatusCode, answer.Header.Get("Retry-After") != ""
		if route == "new-order" {
			e.order = answer.Header.Get("Location")
		}
		var p acme.Problem
		if answer.StatusCode >= http.StatusBadRequest && json.Unmarshal(text, &p) == nil {
			e.problem = p.Type
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exchanges = append(r.exchanges, e)
	return answer, err
}

// exchange sends a request and reads the answer to its end.
func (r *recorder) exchange(request *http.Request, body []byte) (*http.Response, []byte, error) {
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	request.GetBody = nil // a request that was sent is not sent again behind our back
	var ready []int
	for i, replica := range r.replicas {
		if replica.ready.Load() {
			ready = append(ready, i)
		}
	}
	if len(ready) == 0 {
		return nil, nil, errNoEndpoint
	}
	answer, err := r.transports[ready[rand.N(len(ready))]].RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(text))
	return answer, text, nil
}

// nonceOf returns the nonce of a JWS.
func nonceOf(body []byte) string {
	var jws struct{ Protected string }
	var header struct{ Nonce string }
	if json.Unmarshal(body, &jws) != nil {
		return ""
	}
	if raw, err := base64.RawURLEncoding.DecodeString(jws.Protected); err == nil {
		_ = json.Unmarshal(raw, &header) // what is not there is empty
	}
	return header.Nonce
}

// kindOf names why there was no answer.
func kindOf(err error) string {
	var network net.Error
	switch {
	case errors.Is(err, errNoEndpoint):
		return "no replica ready"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &network) && network.Timeout():
		return "no answer"
	default: // reset, or closed in the middle
		return "connection lost"
	}
}

// all returns what was recorded so far, in the order of the answers.
func (r *recorder) all() []exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.exchanges)
}
