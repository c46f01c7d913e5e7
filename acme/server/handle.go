package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// request is what an endpoint decides on. Whatever could be checked without
// knowing the endpoint has been.
type request struct {
	ctx    context.Context // of the HTTP request, with the deadline; a request does not outlive it
	base   base            // that links start with
	method string
	path   func(name string) string // the value of a wildcard of the route's path
	query  func() url.Values
	client netip.Addr // the peer of the connection
	// gate counts the request among those that are worked on, while it is entered.
	gate    *gate
	entered bool

	// The rest is of POSTs only.
	proof   *acme.Proof      // of the account, for the store; nil where none was named
	ask     func() error     // asks the store for the account, and verifies anew
	account *acme.Account    // a valid account; byProof, its ID and key alone are of now
	key     *jose.JSONWebKey // the public key that the signature was verified with
	payload []byte           // empty for POST-as-GET (RFC 8555 §6.3)
}

// isPostAsGet reports whether the request reads a resource.
func (r *request) isPostAsGet() bool { return len(r.payload) == 0 }

// id returns the ID in the path; the problem is what an object that is not there gets.
func (r *request) id() (acme.ID, error) {
	id, err := acme.ParseID(r.path("id"))
	if err != nil {
		return acme.ID{}, notFound("no such resource")
	}
	return id, nil
}

// decode reads the payload as a JSON object. Fields it does not know are left
// alone, as RFC 8555 §7.1 wants of them.
func (r *request) decode(v any) error {
	if r.isPostAsGet() {
		return acme.Problemf(acme.Malformed, "this request needs a JSON object as its payload; found none (POST-as-GET)")
	}
	if err := json.Unmarshal(r.payload, v); err != nil {
		return acme.Problemf(acme.Malformed, "the payload: %s", acme.Excerpt(err.Error()))
	}
	if bytes.TrimLeft(r.payload, " \t\r\n")[0] != '{' { // null, which Unmarshal takes for nothing
		return acme.Problemf(acme.Malformed, "the payload is not a JSON object")
	}
	return nil
}

// response is what an endpoint answers.
type response struct {
	status   int      // default 200
	location string   // header Location
	links    []string // headers Link, beside rel="index"
	// retryAfter is sent in whole seconds, rounded up; 0 is not sent.
	retryAfter time.Duration
	quotas     []acme.Quota // headers RateLimit and RateLimit-Policy
	body       any          // as JSON, unless it is []byte, which is sent as contentType
	// contentType is that of a []byte body.
	contentType string
	// cacheable lets caches keep the answer; otherwise they must not.
	cacheable string
}

// handler is the only wrapper: it authenticates, calls the endpoint, writes its
// answer or its problem, and leaves one log line and one metric.
func (s *Server) handler(rt route, g *gate) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(hr.Context(), s.config.RequestTimeout)
		defer cancel()
		r := &request{ctx: ctx, base: s.baseOf(hr), method: hr.Method, path: hr.PathValue, query: hr.URL.Query, client: clientOf(hr), gate: g}
		resp, err := s.serve(rt, r, hr, w)
		problem := s.problemOf(err)
		if problem != nil {
			resp = problemResponse(problem)
			if limit := (*acme.LimitError)(nil); errors.As(err, &limit) {
				resp.quotas = refusedQuota(limit)
			}
		}
		s.write(w, hr, r, rt, resp)
		s.record(hr, rt, r, resp.status, problem, err, time.Since(start))
	})
}

// serve authenticates and calls the endpoint. A panic in it is an internal error
// of this request only.
func (s *Server) serve(rt route, r *request, hr *http.Request, w http.ResponseWriter) (resp *response, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
			s.config.Logger.Error("endpoint panicked", "path", rt.path, "panic", v, "stack", stack())
		}
	}()
	if err := s.checkFlood(r); err != nil {
		return nil, err
	}
	defer r.leave()
	if err := s.authenticate(rt, r, hr, w); err != nil {
		return nil, err
	}
	resp, err = s.handle(rt, r)
	if err == nil && resp.status == 0 {
		resp.status = http.StatusOK
	}
	return resp, err
}

// problemOf returns what a client is told of an error: problems as they are,
// everything else without its text. nil for nil.
func (s *Server) problemOf(err error) *acme.Problem {
	var problem *acme.Problem
	var limit *acme.LimitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &limit):
		return s.limitProblem(limit)
	case errors.As(err, &problem):
		return problem
	case errors.Is(err, acme.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// 503 is what well-behaved clients retry; any 4xx is final for some.
		return &acme.Problem{
			Type: acme.ServerInternal, Status: http.StatusServiceUnavailable, RetryAfter: unavailableRetry,
			Detail: "the service is not available at the moment; nothing is lost, try again",
		}
	case errors.Is(err, acme.ErrNotFound):
		return notFound("no such resource, or it belongs to another account")
	default:
		return acme.Problemf(acme.ServerInternal, "an internal error; the server's log says more")
	}
}

// unavailableRetry is when to come back after a 503.
const unavailableRetry = 5 * time.Second

// problemResponse returns the answer for a problem. Only a subproblem may carry an
// identifier (RFC 8555 §6.7.1).
func problemResponse(p *acme.Problem) *response {
	body := *p
	body.Identifier = nil
	resp := &response{status: p.HTTPStatus(), body: &body, retryAfter: p.RetryAfter, location: p.Location}
	if p.Link != "" {
		resp.links = append(resp.links, link(p.Link, "help"))
	}
	if p.Terms != "" {
		resp.links = append(resp.links, link(p.Terms, "terms-of-service"))
	}
	return resp
}

// write sends an answer. Nothing else writes to w.
func (s *Server) write(w http.ResponseWriter, hr *http.Request, r *request, rt route, resp *response) {
	h := w.Header()
	h.Add("Link", link(r.base.to(directoryPath), "index")) // RFC 8555 §7.1
	for _, l := range resp.links {
		h.Add("Link", l)
	}
	if resp.cacheable != "" && hr.Method != http.MethodPost {
		h.Set("Cache-Control", resp.cacheable)
	} else {
		h.Set("Cache-Control", "no-store") // RFC 8555 §7.2 for nonces
	}
	if hr.Method == http.MethodPost || rt.path == newNoncePath { // RFC 8555 §6.5
		if n, err := s.config.Nonces.Seal(); err == nil {
			h.Set("Replay-Nonce", n)
		}
	}
	if resp.location != "" {
		h.Set("Location", resp.location)
	}
	if resp.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds(resp.retryAfter)))
	}
	writeQuotas(h, resp.quotas)
	body, contentType := resp.encode()
	if body == nil {
		w.WriteHeader(resp.status)
		return
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(resp.status)
	_, _ = w.Write(body) // the client is gone: nobody to tell
}

// encode returns the body and its media type; nil for no body.
func (resp *response) encode() ([]byte, string) {
	switch body := resp.body.(type) {
	case nil:
		return nil, ""
	case []byte:
		return body, resp.contentType
	case *acme.Problem:
		return mustJSON(body), "application/problem+json"
	default:
		return mustJSON(body), "application/json"
	}
}

// mustJSON encodes a value of a type of this package, which always can be.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// record leaves the log line and the metric of a request.
func (s *Server) record(hr *http.Request, rt route, r *request, status int, p *acme.Problem, err error, took time.Duration) {
	problem := ""
	if p != nil {
		problem = string(p.Type)
	}
	s.metrics.observe(rt.path, status, problem, took)
	level := slog.LevelInfo
	switch {
	case (rt.auth == anyone || rt.auth == public) && status < http.StatusBadRequest,
		errors.Is(err, errFlood), errors.Is(err, errOverload): // the log is not to be flooded either
		level = slog.LevelDebug
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	if !s.config.Logger.Enabled(hr.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", hr.Method), slog.String("path", acme.Excerpt(hr.URL.Path)), slog.Int("status", status),
		slog.Duration("took", took), slog.String("remote", hr.RemoteAddr),
	}
	if r.account != nil {
		attrs = append(attrs, slog.String("account", r.account.ID.String()))
	}
	if err != nil {
		attrs = append(attrs, slog.String("problem", problem), slog.String("error", err.Error()))
	}
	s.config.Logger.LogAttrs(hr.Context(), level, "request", attrs...)
}
