package server_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

func startTrusted(t *testing.T) *acmetest.Server {
	t.Helper()
	return acmetest.StartServer(t, acmetest.NewMemory(), server.Config{})
}

// must fails the test on an error and returns the value.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestATrustedAccountGetsACertificateInThreeRequests(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "b.example", "a.example"))(t)
	if order.Status != acme.OrderReady || len(order.Authorizations) != 2 {
		t.Fatalf("order is %+v; want ready with two authorizations", order)
	}
	order = must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example", "b.example")))(t)
	if order.Status != acme.OrderValid {
		t.Fatalf("finalized order is %s", order.Status)
	}
	resp := must(c.Post(t.Context(), order.Certificate, nil))(t)
	if got := resp.Header.Get("Content-Type"); got != "application/pem-certificate-chain" {
		t.Errorf("Content-Type is %q", got)
	}
	leaf, rest := pem.Decode(resp.Body)
	intermediate, _ := pem.Decode(rest)
	if leaf == nil || intermediate == nil {
		t.Fatalf("chain is %q", resp.Body)
	}
	verifyChain(t, s, leaf.Bytes, intermediate.Bytes, "a.example")
}

func verifyChain(t *testing.T, s *acmetest.Server, leaf, intermediate []byte, name string) {
	t.Helper()
	cert, roots, between := must(x509.ParseCertificate(leaf))(t), x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(s.Authority.Roots()[0])
	between.AddCert(must(x509.ParseCertificate(intermediate))(t))
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name}); err != nil {
		t.Error(err)
	}
}

func TestEveryAnswerToAPostHasANonceAndEveryAnswerTheIndex(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	post := func(url string, payload any) *acmetest.Response {
		return must(c.Post(t.Context(), url, payload))(t)
	}
	for name, resp := range map[string]*acmetest.Response{
		"success":       post(c.Account, nil),
		"not found":     post(c.Directory.NewAccount+"/no", nil),
		"bad payload":   post(c.Directory.NewOrder, []byte("{")),
		"no JWS":        must(c.Do(t.Context(), http.MethodPost, c.Directory.NewOrder, "application/jose+json", []byte("no")))(t),
		"wrong type":    must(c.Do(t.Context(), http.MethodPost, c.Directory.NewOrder, "application/json", []byte("{}")))(t),
		"too large":     must(c.Do(t.Context(), http.MethodPost, c.Directory.NewOrder, "application/jose+json", make([]byte, 1<<20)))(t),
		"unknown order": post(strings.Replace(c.Account, "/account/", "/order/", 1), nil),
	} {
		if resp.Header.Get("Replay-Nonce") == "" {
			t.Errorf("%s (%d): no Replay-Nonce", name, resp.Status)
		}
		if !slices.Contains(resp.Header.Values("Link"), "<"+s.URL+`/directory>;rel="index"`) {
			t.Errorf("%s (%d): Link is %q", name, resp.Status, resp.Header.Values("Link"))
		}
		if resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s (%d): Cache-Control is %q", name, resp.Status, resp.Header.Get("Cache-Control"))
		}
	}
}

func TestWhatIsReadIsReadByPOSTAsGETAndByNothingElse(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	order = must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")))(t)
	for name, url := range map[string]string{
		"directory": s.DirectoryURL(), "newNonce": c.Directory.NewNonce, "order": order.URL, "orders": c.Account + "/orders",
		"certificate": order.Certificate,
	} {
		if resp := must(c.Post(t.Context(), url, nil))(t); resp.Status/100 != 2 || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, Cache-Control %q; want a success, no-store", name, resp.Status, resp.Header.Get("Cache-Control"))
		}
		if resp := must(c.Post(t.Context(), url, map[string]any{}))(t); problemType(resp) != acme.Malformed {
			t.Errorf("%s with a payload: status %d, %s; want malformed", name, resp.Status, resp.Body)
		}
	}
	stranger := s.NewAccount(t)
	stranger.Key = acmetest.NewKey(t)
	if resp := must(stranger.Post(t.Context(), s.DirectoryURL(), nil))(t); problemType(resp) != acme.Malformed {
		t.Errorf("the directory with a signature that is wrong: status %d", resp.Status)
	}
}

func TestNewNonceGivesADifferentNonceEachTime(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewClient(t)
	seen := map[string]bool{}
	for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodHead} {
		resp := must(c.Do(t.Context(), method, c.Directory.NewNonce, "", nil))(t)
		want := map[string]int{http.MethodHead: http.StatusOK, http.MethodGet: http.StatusNoContent}[method]
		if resp.Status != want {
			t.Errorf("%s: %d, want %d", method, resp.Status, want)
		}
		seen[resp.Header.Get("Replay-Nonce")] = true
	}
	if len(seen) != 3 || seen[""] {
		t.Errorf("nonces %v", seen)
	}
}

// refusals are JWSs that no well-behaved client sends (RFC 8555 §6).
var refusals = []struct {
	name   string
	change func(t *testing.T, c *acmetest.Client, j *acmetest.JWS)
	want   acme.ProblemType
}{
	{"no nonce", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Header = map[string]any{"nonce": nil} }, acme.BadNonce},
	{"a nonce of our own making", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) {
		j.Nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	}, acme.BadNonce},
	{"a used nonce", func(t *testing.T, c *acmetest.Client, j *acmetest.JWS) {
		first := &acmetest.JWS{Key: c.Key, KeyID: c.Account, URL: c.Account, Nonce: j.Nonce}
		must(c.PostJWS(t.Context(), c.Account, first))(t)
	}, acme.BadNonce},
	{"no url", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Header = map[string]any{"url": nil} }, acme.Unauthorized},
	{"the url of another resource", func(_ *testing.T, c *acmetest.Client, j *acmetest.JWS) { j.URL = c.Directory.NewOrder }, acme.Unauthorized},
	{"neither jwk nor kid", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Header = map[string]any{"kid": nil} }, acme.Malformed},
	{"both jwk and kid", func(_ *testing.T, c *acmetest.Client, j *acmetest.JWS) {
		j.Header = map[string]any{"jwk": publicJWK(c.Key)}
	}, acme.Malformed},
	{"jwk where kid belongs", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.KeyID = "" }, acme.Malformed},
	{"an account that is not", func(_ *testing.T, c *acmetest.Client, j *acmetest.JWS) {
		j.KeyID = strings.TrimRight(c.Account, c.Account[len(c.Account)-26:]) + acme.NewID().String()
	}, acme.AccountDoesNotExist},
	{"a kid of another server", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.KeyID = "https://ca.example/account/1" }, acme.AccountDoesNotExist},
	{"another key's signature", func(t *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Key = acmetest.NewKey(t) }, acme.Malformed},
	{"an algorithm of MACs", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Header = map[string]any{"alg": "HS256"} }, acme.BadSignatureAlgorithm},
	{"no algorithm", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Header = map[string]any{"alg": "none"} }, acme.BadSignatureAlgorithm},
	{"an algorithm that is not the key's", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Header = map[string]any{"alg": "RS256"} }, acme.Malformed},
	{"crit", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) {
		j.Header = map[string]any{"crit": []string{"exp"}}
	}, acme.Malformed},
	{"b64", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Header = map[string]any{"b64": false} }, acme.Malformed},
	{"an unprotected header", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) {
		j.Body = map[string]any{"header": map[string]any{"kid": "x"}}
	}, acme.Malformed},
	{"an empty unprotected header", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) {
		j.Body = map[string]any{"header": map[string]any{}}
	}, acme.Malformed},
	{"the general serialization", general, acme.Malformed},
	{"no signature", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Body = map[string]any{"signature": nil} }, acme.Malformed},
	{"an empty signature", func(_ *testing.T, _ *acmetest.Client, j *acmetest.JWS) { j.Body = map[string]any{"signature": ""} }, acme.Malformed},
}

// general turns a JWS into the general serialization with one signature.
func general(t *testing.T, _ *acmetest.Client, j *acmetest.JWS) {
	t.Helper()
	var flat struct{ Protected, Signature string }
	body := acmetest.Response{Body: must(j.Encode())(t)}
	if err := body.Decode(&flat); err != nil {
		t.Fatal(err)
	}
	j.Body = map[string]any{"protected": nil, "signature": nil, "signatures": []any{flat}}
}

func TestAJWSThatIsNotAsTheRFCWantsItIsRefused(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := s.NewAccount(t)
			jws := &acmetest.JWS{Key: c.Key, KeyID: c.Account, URL: c.Account, Nonce: must(c.Nonce(t.Context()))(t)}
			tt.change(t, c, jws)
			resp := must(c.PostJWS(t.Context(), c.Account, jws))(t)
			if resp.Problem == nil || resp.Problem.Type != tt.want {
				t.Fatalf("status %d, problem %v; want %s", resp.Status, resp.Problem, tt.want)
			}
			if tt.want == acme.BadSignatureAlgorithm && len(resp.Problem.Algorithms) == 0 {
				t.Error("no list of algorithms (RFC 8555 §6.2)")
			}
		})
	}
}

func TestAnAccountKeyThatIsNotSafeIsRefused(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	small := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	for name, jwk := range map[string]any{
		"RSA of 1024 bits": publicJWK(small),
		"symmetric":        map[string]string{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAA"},
		"private": map[string]string{
			"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
			"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
		},
		"a point off its curve": map[string]string{
			"kty": "EC", "crv": "P-256",
			"x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "AAAAESIlxSzzUVkgwqyjzBt2Ua3YtB9q0TZDUO3yoIEY",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.NewClient(t)
			jws := &acmetest.JWS{Key: c.Key, URL: c.Directory.NewAccount, Nonce: must(c.Nonce(t.Context()))(t), Payload: []byte("{}"), Header: map[string]any{"jwk": jwk}}
			if name == "RSA of 1024 bits" {
				jws.Key = small
			}
			resp := must(c.PostJWS(t.Context(), c.Directory.NewAccount, jws))(t)
			if resp.Problem == nil || resp.Problem.Type != acme.BadPublicKey {
				t.Errorf("status %d, problem %v; want badPublicKey", resp.Status, resp.Problem)
			}
		})
	}
}

func TestAnObjectIsRefusedToEveryOtherAccount(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	owner, other := s.NewAccount(t), s.NewAccount(t)
	order := must(owner.NewOrder(t.Context(), "a.example"))(t)
	finalized := must(owner.Finalize(t.Context(), order, acmetest.NewCSR(t, acmetest.NewKey(t), "a.example")))(t)
	authorization := must(owner.GetAuthorization(t.Context(), order.Authorizations[0]))(t)
	for name, url := range map[string]string{
		"order": order.URL, "authorization": order.Authorizations[0], "challenge": authorization.Challenges[0].URL,
		"finalize": order.Finalize, "certificate": finalized.Certificate, "account": owner.Account,
	} {
		for _, payload := range []any{nil, map[string]string{}} {
			resp := must(other.Post(t.Context(), url, payload))(t)
			if resp.Status < 400 || strings.Contains(string(resp.Body), "a.example") {
				t.Errorf("%s with payload %v: status %d, %s", name, payload, resp.Status, resp.Body)
			}
		}
	}
}

func TestAnUnavailableStoreIs503AndSaysNothingOfTheInside(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	broken := &brokenStore{Store: memory}
	s := acmetest.StartServer(t, broken, server.Config{})
	c := s.NewAccount(t)
	for _, tt := range []struct {
		err    error
		status int
	}{
		{errors.Join(errors.New("secret of the inside"), acme.ErrUnavailable), http.StatusServiceUnavailable},
		{errors.New("secret of the inside"), http.StatusInternalServerError},
	} {
		broken.err = tt.err
		resp := must(c.Post(t.Context(), c.Directory.NewOrder, map[string]any{"identifiers": []acme.Identifier{{Type: acme.DNS, Value: "a.example"}}}))(t)
		if resp.Status != tt.status || resp.Problem.Type != acme.ServerInternal || strings.Contains(string(resp.Body), "secret") {
			t.Errorf("status %d, %s; want %d without the error's text", resp.Status, resp.Body, tt.status)
		}
		if retry := resp.Header.Get("Retry-After"); (tt.status == http.StatusServiceUnavailable) != (retry != "") {
			t.Errorf("status %d with Retry-After %q", resp.Status, retry)
		}
	}
}

// brokenStore fails to create orders.
type brokenStore struct {
	acmetest.Store
	err error
}

func (b *brokenStore) CreateOrder(context.Context, *acme.Proof, *acme.Order, []*acme.Authorization, []acme.Spend) ([]acme.Quota, error) {
	return nil, b.err
}

func publicJWK(key crypto.Signer) any { return jose.JSONWebKey{Key: key.Public()} }
