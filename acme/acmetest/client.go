package acmetest

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Client is an ACME client that does what it is told, right or wrong: every
// part of a request can be replaced, and nothing in an answer is hidden. It is
// safe for concurrent use after Dial.
type Client struct {
	HTTP *http.Client
	// Directory is the server's, as fetched by Dial.
	Directory Directory
	// Key signs; Account is the account's URL, set by NewAccount.
	Key     crypto.Signer
	Account string

	mu     sync.Mutex
	nonces []string
}

// Directory is the directory object (RFC 8555 §7.1.1).
type Directory struct {
	NewNonce    string `json:"newNonce"`
	NewAccount  string `json:"newAccount"`
	NewOrder    string `json:"newOrder"`
	NewAuthz    string `json:"newAuthz"`
	RevokeCert  string `json:"revokeCert"`
	KeyChange   string `json:"keyChange"`
	RenewalInfo string `json:"renewalInfo"`
	Meta        struct {
		TermsOfService          string            `json:"termsOfService"`
		CAAIdentities           []string          `json:"caaIdentities"`
		ExternalAccountRequired bool              `json:"externalAccountRequired"`
		Profiles                map[string]string `json:"profiles"`
		IssuerDomainNames       []string          `json:"issuerDomainNames"`
		AccountHashPrefix       string            `json:"accountHashPrefix"`
	} `json:"meta"`
}

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// Problem is the body of an error.
	Problem *acme.Problem
}

// Decode reads the body as JSON.
func (r *Response) Decode(v any) error { return json.Unmarshal(r.Body, v) }

// Err returns the problem of an answer that is not a success, as an error.
func (r *Response) Err() error {
	switch {
	case r.Status < http.StatusBadRequest:
		return nil
	case r.Problem != nil:
		return r.Problem
	default:
		return fmt.Errorf("status %d: %s", r.Status, acme.Excerpt(string(r.Body)))
	}
}

// Dial fetches the directory.
func Dial(ctx context.Context, httpClient *http.Client, directoryURL string, key crypto.Signer) (*Client, error) {
	c := &Client{HTTP: httpClient, Key: key}
	resp, err := c.Get(ctx, directoryURL)
	if err != nil {
		return nil, err
	}
	if err := resp.Err(); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	return c, resp.Decode(&c.Directory)
}

// Get fetches a URL without a signature.
func (c *Client) Get(ctx context.Context, url string) (*Response, error) {
	return c.Do(ctx, http.MethodGet, url, "", nil)
}

// Do sends a request as it is and keeps the nonce of the answer.
func (c *Client) Do(ctx context.Context, method, url, contentType string, body []byte) (*Response, error) {
	resp, err := c.send(ctx, method, url, contentType, body)
	if err != nil {
		return nil, err
	}
	if n := resp.Header.Get("Replay-Nonce"); n != "" {
		c.mu.Lock()
		c.nonces = append(c.nonces, n)
		c.mu.Unlock()
	}
	return resp, nil
}

// send sends a request and reads the answer.
func (c *Client) send(ctx context.Context, method, url, contentType string, body []byte) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	hr, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer hr.Body.Close() //nolint:errcheck // read to its end
	resp := &Response{Status: hr.StatusCode, Header: hr.Header}
	if resp.Body, err = io.ReadAll(hr.Body); err != nil {
		return nil, err
	}
	// Some servers say the character set, which JSON has none of.
	if t, _, _ := mime.ParseMediaType(hr.Header.Get("Content-Type")); t == "application/problem+json" {
		resp.Problem = new(acme.Problem)
		if err := resp.Decode(resp.Problem); err != nil {
			return nil, fmt.Errorf("problem document: %w", err)
		}
	}
	return resp, nil
}

// Nonce returns a nonce that was not used before, from an earlier answer where
// there is one.
func (c *Client) Nonce(ctx context.Context) (string, error) {
	if nonce := c.keptNonce(); nonce != "" {
		return nonce, nil
	}
	// What this one asked for is not kept: another, at the same time, might take it.
	resp, err := c.send(ctx, http.MethodHead, c.Directory.NewNonce, "", nil)
	if err != nil {
		return "", err
	}
	if err := resp.Err(); err != nil {
		return "", fmt.Errorf("newNonce: %w", err)
	}
	nonce := resp.Header.Get("Replay-Nonce")
	if nonce == "" {
		return "", errors.New("newNonce: no Replay-Nonce in the answer")
	}
	return nonce, nil
}

// keptNonce takes the newest nonce that was kept, or returns "".
func (c *Client) keptNonce() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.nonces)
	if n == 0 {
		return ""
	}
	nonce := c.nonces[n-1]
	c.nonces = c.nonces[:n-1]
	return nonce
}

// Post sends a signed request as the account, or with the key where there is no
// account yet. A nil payload is POST-as-GET. A badNonce is tried again, once, as
// RFC 8555 §6.5 asks.
func (c *Client) Post(ctx context.Context, url string, payload any) (*Response, error) {
	for attempt := 0; ; attempt++ {
		nonce, err := c.Nonce(ctx)
		if err != nil {
			return nil, err
		}
		jws := &JWS{Key: c.Key, KeyID: c.Account, URL: url, Nonce: nonce}
		if err := jws.SetPayload(payload); err != nil {
			return nil, err
		}
		resp, err := c.PostJWS(ctx, url, jws)
		if err == nil && attempt == 0 && resp.Problem != nil && resp.Problem.Type == acme.BadNonce {
			continue
		}
		return resp, err
	}
}

// PostJWS sends a JWS as it is.
func (c *Client) PostJWS(ctx context.Context, url string, jws *JWS) (*Response, error) {
	body, err := jws.Encode()
	if err != nil {
		return nil, err
	}
	return c.Do(ctx, http.MethodPost, url, "application/jose+json", body)
}

// Order is the order object (RFC 8555 §7.1.3) with its URL.
type Order struct {
	URL            string            `json:"-"`
	Status         acme.OrderStatus  `json:"status"`
	Expires        time.Time         `json:"expires"`
	Identifiers    []acme.Identifier `json:"identifiers"`
	Profile        string            `json:"profile"`
	Authorizations []string          `json:"authorizations"`
	Finalize       string            `json:"finalize"`
	Certificate    string            `json:"certificate"`
	Error          *acme.Problem     `json:"error"`
}

// Authorization is the authorization object (RFC 8555 §7.1.4).
type Authorization struct {
	Identifier acme.Identifier          `json:"identifier"`
	Status     acme.AuthorizationStatus `json:"status"`
	Wildcard   bool                     `json:"wildcard"`
	Challenges []Challenge              `json:"challenges"`
}

// Challenge is the challenge object (RFC 8555 §7.1.5).
type Challenge struct {
	Type   acme.ChallengeType   `json:"type"`
	URL    string               `json:"url"`
	Status acme.ChallengeStatus `json:"status"`
	Token  string               `json:"token"`
	Error  *acme.Problem        `json:"error"`
	// IssuerDomainNames are what a record of dns-persist-01 may name.
	IssuerDomainNames []string `json:"issuerDomainNames"`
}

// NewAccount makes or finds the account of the key and remembers its URL.
func (c *Client) NewAccount(ctx context.Context, payload map[string]any) (*Response, error) {
	if payload == nil {
		payload = map[string]any{"termsOfServiceAgreed": true}
	}
	resp, err := c.Post(ctx, c.Directory.NewAccount, payload)
	if err != nil {
		return nil, err
	}
	if err := resp.Err(); err != nil {
		return resp, fmt.Errorf("newAccount: %w", err)
	}
	c.Account = resp.Header.Get("Location")
	return resp, nil
}

// NewOrder asks for a certificate for DNS names.
func (c *Client) NewOrder(ctx context.Context, names ...string) (*Order, error) {
	identifiers := make([]acme.Identifier, len(names))
	for i, n := range names {
		identifiers[i] = acme.Identifier{Type: acme.DNS, Value: n}
	}
	resp, err := c.Post(ctx, c.Directory.NewOrder, map[string]any{"identifiers": identifiers})
	if err != nil {
		return nil, err
	}
	return resp.order(resp.Header.Get("Location"))
}

// order reads an order out of an answer.
func (r *Response) order(url string) (*Order, error) {
	if err := r.Err(); err != nil {
		return nil, err
	}
	o := &Order{URL: url}
	return o, r.Decode(o)
}

// GetOrder reads an order.
func (c *Client) GetOrder(ctx context.Context, url string) (*Order, error) {
	resp, err := c.Post(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	return resp.order(url)
}

// GetAuthorization reads an authorization.
func (c *Client) GetAuthorization(ctx context.Context, url string) (*Authorization, error) {
	resp, err := c.Post(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	if err := resp.Err(); err != nil {
		return nil, err
	}
	a := new(Authorization)
	return a, resp.Decode(a)
}

// Finalize sends a CSR in DER and returns the order as answered.
func (c *Client) Finalize(ctx context.Context, o *Order, csr []byte) (*Order, error) {
	resp, err := c.Post(ctx, o.Finalize, map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)})
	if err != nil {
		return nil, err
	}
	return resp.order(o.URL)
}
