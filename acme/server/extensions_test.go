package server_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

// issued is a certificate that an account got, with its key.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func issueFor(t *testing.T, c *acmetest.Client, names ...string) issued {
	t.Helper()
	key := acmetest.NewKey(t)
	order := must(c.NewOrder(t.Context(), names...))(t)
	prove(t, c, order)
	order = must(c.Finalize(t.Context(), order, acmetest.NewCSR(t, key, names...)))(t)
	block, _ := pem.Decode(must(c.Post(t.Context(), order.Certificate, nil))(t).Body)
	return issued{must(x509.ParseCertificate(block.Bytes))(t), key}
}

// prove has the authorizations of an order that are pending become valid.
func prove(t *testing.T, c *acmetest.Client, order *acmetest.Order) {
	t.Helper()
	for _, url := range order.Authorizations {
		if a := must(c.GetAuthorization(t.Context(), url))(t); a.Status == acme.AuthorizationPending {
			must(c.Post(t.Context(), a.Challenges[0].URL, map[string]any{}))(t)
		}
	}
}

// changeKey sends a keyChange; alter may spoil the inner JWS.
func changeKey(t *testing.T, c *acmetest.Client, next crypto.Signer, alter func(*acmetest.JWS)) *acmetest.Response {
	t.Helper()
	inner := &acmetest.JWS{Key: next, URL: c.Directory.KeyChange, Header: map[string]any{"nonce": nil}}
	if err := inner.SetPayload(map[string]any{"account": c.Account, "oldKey": publicJWK(c.Key)}); err != nil {
		t.Fatal(err)
	}
	if alter != nil {
		alter(inner)
	}
	return must(c.Post(t.Context(), c.Directory.KeyChange, must(inner.Encode())(t)))(t)
}

func TestAnAccountChangesItsKeyAndTheOldOneIsRefused(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	next := acmetest.NewKey(t)
	if resp := changeKey(t, c, next, nil); resp.Status != http.StatusOK {
		t.Fatalf("status %d, %s", resp.Status, resp.Body)
	}
	if resp := must(c.Post(t.Context(), c.Account, nil))(t); resp.Problem == nil {
		t.Error("the old key still signs")
	}
	c.Key = next
	if resp := must(c.Post(t.Context(), c.Account, nil))(t); resp.Status != http.StatusOK {
		t.Errorf("the new key: status %d, %s", resp.Status, resp.Body)
	}
}

func TestAKeyChangeThatProvesTooLittleIsRefused(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	other := s.NewAccount(t)
	for name, alter := range map[string]func(*acmetest.JWS){
		"a nonce in the inner JWS": func(j *acmetest.JWS) { j.Header = map[string]any{"nonce": "x"} },
		"another url":              func(j *acmetest.JWS) { j.URL = "https://ca.example/key-change" },
		"another account": func(j *acmetest.JWS) {
			_ = j.SetPayload(map[string]any{"account": other.Account, "oldKey": publicJWK(other.Key)})
		},
		"another old key": func(j *acmetest.JWS) {
			j.Payload = []byte(strings.Replace(string(j.Payload), `"x":"`, `"x":"A`, 1))
		},
		"no jwk":                  func(j *acmetest.JWS) { j.KeyID = other.Account },
		"another key's signature": func(j *acmetest.JWS) { j.Header["jwk"] = publicJWK(other.Key) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if resp := changeKey(t, s.NewAccount(t), acmetest.NewKey(t), alter); problemType(resp) != acme.Malformed {
				t.Errorf("status %d, problem %v; want malformed", resp.Status, resp.Problem)
			}
		})
	}
	t.Run("the key that the account has", func(t *testing.T) {
		t.Parallel()
		c := s.NewAccount(t)
		if resp := changeKey(t, c, c.Key, nil); resp.Status != http.StatusConflict || resp.Header.Get("Location") != c.Account {
			t.Errorf("status %d, Location %q; want 409 and the account's URL", resp.Status, resp.Header.Get("Location"))
		}
	})
	t.Run("the key of another account", func(t *testing.T) {
		t.Parallel()
		resp := changeKey(t, s.NewAccount(t), other.Key, nil)
		if resp.Status != http.StatusConflict || resp.Header.Get("Location") != other.Account {
			t.Errorf("status %d, Location %q; want 409 and the other account's URL", resp.Status, resp.Header.Get("Location"))
		}
	})
}

// revoke sends a revokeCert as the account of c, or with a key.
func revoke(t *testing.T, c *acmetest.Client, cert *x509.Certificate, reason int) *acmetest.Response {
	t.Helper()
	return must(c.Post(t.Context(), c.Directory.RevokeCert, map[string]any{
		"certificate": base64.RawURLEncoding.EncodeToString(cert.Raw), "reason": reason,
	}))(t)
}

func TestACertificateIsRevokedInThreeWaysAndIsThenOnTheCRL(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	s := acmetest.StartServer(t, memory, server.Config{Validator: &proof{store: memory}})
	owner, other, stranger := s.NewAccount(t), s.NewAccount(t), s.NewAccount(t)
	byAccount, byKey, byName := issueFor(t, owner, "a.example"), issueFor(t, owner, "b.example"), issueFor(t, owner, "c.example")
	prove(t, other, must(other.NewOrder(t.Context(), "c.example"))(t))
	holder := s.NewClient(t)
	holder.Key = byKey.key

	if resp := revoke(t, stranger, byName.cert, 0); problemType(resp) != acme.Unauthorized {
		t.Errorf("a stranger: status %d, problem %v", resp.Status, resp.Problem)
	}
	for name, r := range map[string]struct {
		client *acmetest.Client
		cert   issued
	}{"by account": {owner, byAccount}, "by key": {holder, byKey}, "by authorization": {other, byName}} {
		if resp := revoke(t, r.client, r.cert.cert, 1); resp.Status != http.StatusOK {
			t.Errorf("%s: status %d, %s", name, resp.Status, resp.Body)
		}
		if resp := revoke(t, r.client, r.cert.cert, 1); problemType(resp) != acme.AlreadyRevoked {
			t.Errorf("%s, again: status %d, problem %v; want alreadyRevoked", name, resp.Status, resp.Problem)
		}
	}
	crl := fetchCRL(t, s, byAccount.cert)
	if len(crl.RevokedCertificateEntries) != 3 || crl.RevokedCertificateEntries[0].ReasonCode != 1 {
		t.Errorf("the CRL has %v", crl.RevokedCertificateEntries)
	}
}

func TestWhereNothingIsProvedAnAccountRevokesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	owner, other := s.NewAccount(t), s.NewAccount(t)
	i := issueFor(t, owner, "a.example")
	issueFor(t, other, "a.example") // by which it holds a valid authorization
	if resp := revoke(t, other, i.cert, 0); problemType(resp) != acme.Unauthorized {
		t.Errorf("another account: status %d, problem %v; want unauthorized", resp.Status, resp.Problem)
	}
	holder := s.NewClient(t)
	holder.Key = i.key
	if resp := revoke(t, holder, i.cert, 0); resp.Status != http.StatusOK {
		t.Errorf("by key: status %d, %s", resp.Status, resp.Body)
	}
}

// fetchCRL follows the distribution point of a certificate.
func fetchCRL(t *testing.T, s *acmetest.Server, cert *x509.Certificate) *x509.RevocationList {
	t.Helper()
	point := must(url.Parse(cert.CRLDistributionPoints[0]))(t)
	w := httptest.NewRecorder()
	s.Handler.Distribution().ServeHTTP(w, httptest.NewRequest(http.MethodGet, point.Path, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/pkix-crl" {
		t.Fatalf("CRL: status %d, %s", w.Code, w.Body)
	}
	crl := must(x509.ParseRevocationList(w.Body.Bytes()))(t)
	if err := crl.CheckSignatureFrom(s.Authority.Certificate()); err != nil {
		t.Error(err)
	}
	return crl
}

func TestAReasonThatIsNotTheClientsToGiveIsRefused(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	i := issueFor(t, c, "a.example")
	for _, reason := range []int{-1, 2, 6, 7, 8, 10, 11} {
		if resp := revoke(t, c, i.cert, reason); problemType(resp) != acme.BadRevocationReason {
			t.Errorf("reason %d: status %d, problem %v", reason, resp.Status, resp.Problem)
		}
	}
	if crl := fetchCRL(t, s, i.cert); len(crl.RevokedCertificateEntries) != 0 {
		t.Errorf("the CRL has %v", crl.RevokedCertificateEntries)
	}
}

// window reads the renewal information of a certificate.
func window(t *testing.T, c *acmetest.Client, id string) (start, end time.Time, resp *acmetest.Response) {
	t.Helper()
	resp = must(c.Get(t.Context(), c.Directory.RenewalInfo+"/"+id))(t)
	var info struct {
		SuggestedWindow struct{ Start, End time.Time }
	}
	if resp.Status == http.StatusOK {
		if err := resp.Decode(&info); err != nil {
			t.Fatal(err)
		}
	}
	return info.SuggestedWindow.Start, info.SuggestedWindow.End, resp
}

func TestRenewalInformationIsAWindowBeforeTheEndAndNowForWhatIsRevoked(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	i := issueFor(t, c, "a.example")
	id := acme.RenewalIDOf(i.cert).String()
	start, end, resp := window(t, c, id)
	if !start.After(time.Now()) || !end.After(start) || !end.Before(i.cert.NotAfter) {
		t.Errorf("window %v to %v of a certificate that ends %v", start, end, i.cert.NotAfter)
	}
	if resp.Header.Get("Retry-After") != "21600" {
		t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
	}
	revoke(t, c, i.cert, 0)
	if _, end, _ := window(t, c, id); !end.Before(time.Now()) {
		t.Errorf("of a revoked certificate it ends %v", end)
	}
	for _, bad := range []string{"", "x", "AAAA.AAAA", id + "A", strings.Split(id, ".")[0] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 16))} {
		if _, _, resp := window(t, c, bad); resp.Status != http.StatusNotFound {
			t.Errorf("of %q: status %d, want 404", bad, resp.Status)
		}
	}
}

func TestACertificateOfAnIssuerThatWasReplacedIsToBeRenewedNow(t *testing.T) {
	t.Parallel()
	for website, page := range map[string]string{
		"https://pki.example/news": "https://pki.example/news",
		"":                         "https://github.com/acme-ca/acme-ca-operator/blob/main/docs/acmeserver.md#certificate-authority",
	} {
		replaceIssuer(t, server.Config{Meta: server.Meta{Website: website}}, page)
	}
}

// replaceIssuer has another authority sign, and wants clients to be told so, with a page.
func replaceIssuer(t *testing.T, config server.Config, page string) {
	t.Helper()
	memory := acmetest.NewMemory()
	before := acmetest.StartServer(t, memory, config)
	id := acme.RenewalIDOf(issueFor(t, before.NewAccount(t), "a.example").cert).String()
	explanation := func(resp *acmetest.Response) string {
		var info struct{ ExplanationURL string }
		if err := resp.Decode(&info); err != nil {
			t.Fatal(err)
		}
		return info.ExplanationURL
	}
	if start, _, resp := window(t, before.NewClient(t), id); !start.After(time.Now()) || explanation(resp) != "" {
		t.Errorf("while its issuer signs: from %v, %s", start, resp.Body)
	}
	after := acmetest.StartServer(t, memory, config) // of the same store, with another authority
	if _, end, resp := window(t, after.NewClient(t), id); !end.Before(time.Now()) || explanation(resp) != page {
		t.Errorf("after another signs: until %v, %s", end, resp.Body)
	}
}

// renew orders a certificate that replaces another.
func renew(t *testing.T, c *acmetest.Client, replaces string, name string) *acmetest.Response {
	t.Helper()
	return must(c.Post(t.Context(), c.Directory.NewOrder, map[string]any{
		"identifiers": []acme.Identifier{{Type: acme.DNS, Value: name}}, "replaces": replaces,
	}))(t)
}

func TestACertificateIsReplacedByOneOrder(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	id := acme.RenewalIDOf(issueFor(t, c, "a.example").cert).String()
	first := renew(t, c, id, "a.example")
	if first.Status != http.StatusCreated || !strings.Contains(string(first.Body), id) {
		t.Fatalf("status %d, %s", first.Status, first.Body)
	}
	if again := renew(t, c, id, "a.example"); problemType(again) != acme.AlreadyReplaced || again.Status != http.StatusConflict {
		t.Errorf("again: status %d, problem %v; want 409 alreadyReplaced", again.Status, again.Problem)
	}
	// RFC 9773 §5: after the replacing order failed, another may come.
	var order struct{ Authorizations []string }
	if err := json.Unmarshal(first.Body, &order); err != nil {
		t.Fatal(err)
	}
	must(c.Post(t.Context(), order.Authorizations[0], map[string]string{"status": "deactivated"}))(t)
	if again := renew(t, c, id, "a.example"); again.Status != http.StatusCreated {
		t.Errorf("after the first failed: status %d, problem %v", again.Status, again.Problem)
	}
}

func TestEveryOtherFaultOfReplacesIsMalformedAndNamesTheField(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c, other := s.NewAccount(t), s.NewAccount(t)
	id := acme.RenewalIDOf(issueFor(t, c, "a.example").cert).String()
	for name, resp := range map[string]*acmetest.Response{
		"not an ID":             renew(t, c, "x", "a.example"),
		"no such certificate":   renew(t, c, "AAAA."+strings.Split(id, ".")[1], "a.example"),
		"of another account":    renew(t, other, id, "a.example"),
		"of another identifier": renew(t, c, id, "b.example"),
	} {
		if problemType(resp) != acme.Malformed || !strings.Contains(resp.Problem.Detail, "replaces") {
			t.Errorf("%s: problem %v; want malformed with the word «replaces»", name, resp.Problem)
		}
	}
}

func TestTheListOfOrdersIsPaged(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	want := map[string]bool{}
	for range 105 {
		want[must(c.NewOrder(t.Context(), "a.example"))(t).URL] = true
	}
	next, pages := c.Account+"/orders", 0
	for ; next != ""; pages++ {
		resp := must(c.Post(t.Context(), next, nil))(t)
		var list struct{ Orders []string }
		if err := resp.Decode(&list); err != nil || resp.Status != http.StatusOK {
			t.Fatalf("status %d, %s", resp.Status, resp.Body)
		}
		for _, o := range list.Orders {
			delete(want, o)
		}
		next = ""
		for _, l := range resp.Header.Values("Link") {
			if u, ok := strings.CutSuffix(l, `>;rel="next"`); ok {
				next = strings.TrimPrefix(u, "<")
			}
		}
	}
	if pages != 2 || len(want) != 0 {
		t.Errorf("%d pages, %d orders missing", pages, len(want))
	}
}

func TestAnAuthorizationIsUsedAgainThoughItsOrderHasEnded(t *testing.T) {
	t.Parallel()
	memory, at := acmetest.NewMemory(), new(clock)
	c := acmetest.StartServer(t, memory, server.Config{
		Validator:     &proof{store: memory, lasts: 8*time.Hour + acme.MinReuse},
		OrderLifetime: 10 * time.Minute, AuthorizationReuse: 8 * time.Hour, Now: at.now,
	}).NewAccount(t)
	first := must(c.NewOrder(t.Context(), "a.example"))(t)
	a := must(c.GetAuthorization(t.Context(), first.Authorizations[0]))(t)
	must(c.Post(t.Context(), a.Challenges[0].URL, map[string]any{}))(t)
	at.advance(8*time.Hour - time.Minute)
	if order := must(c.NewOrder(t.Context(), "a.example"))(t); order.Status != acme.OrderReady || order.Authorizations[0] != first.Authorizations[0] {
		t.Errorf("just before its time: %+v; want ready with the authorization of before", order)
	}
	at.advance(2 * time.Minute)
	if order := must(c.NewOrder(t.Context(), "a.example"))(t); order.Status != acme.OrderPending {
		t.Errorf("after its time: %+v; want pending", order)
	}
}

func TestAnAuthorizationIsUsedAgainWhereThatIsConfigured(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	s := acmetest.StartServer(t, memory, server.Config{Validator: &proof{store: memory}, AuthorizationReuse: time.Hour})
	c := s.NewAccount(t)
	resp := must(c.Post(t.Context(), c.Directory.NewAuthz, map[string]any{"identifier": acme.Identifier{Type: acme.DNS, Value: "a.example"}}))(t)
	location := resp.Header.Get("Location")
	if resp.Status != http.StatusCreated || location == "" {
		t.Fatalf("newAuthz: status %d, %s", resp.Status, resp.Body)
	}
	if order := must(c.NewOrder(t.Context(), "a.example"))(t); order.Authorizations[0] == location {
		t.Error("an authorization that is not valid was used")
	}
	a := must(c.GetAuthorization(t.Context(), location))(t)
	must(c.Post(t.Context(), a.Challenges[0].URL, map[string]any{}))(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	if order.Authorizations[0] != location || order.Status != acme.OrderReady {
		t.Errorf("order %+v; want ready with %s", order, location)
	}
	if order := must(c.NewOrder(t.Context(), "a.example", "b.example"))(t); order.Status != acme.OrderPending || order.Authorizations[0] != location {
		t.Errorf("with another name: %+v", order)
	}
	wildcard := map[string]any{"identifier": acme.Identifier{Type: acme.DNS, Value: "*.a.example"}}
	if resp := must(c.Post(t.Context(), c.Directory.NewAuthz, wildcard))(t); problemType(resp) != acme.Malformed {
		t.Errorf("newAuthz for a wildcard: %v", resp.Problem)
	}
	if other := s.NewAccount(t); must(other.NewOrder(t.Context(), "a.example"))(t).Status != acme.OrderPending {
		t.Error("another account used it")
	}
}

// unasked is a store that is not to be asked for challenges.
type unasked struct {
	acmetest.Store
	t *testing.T
}

func (s *unasked) Prove(_ context.Context, _ *acme.Proof, id acme.ID, t acme.ChallengeType, _ acme.ProveFunc) (*acme.Authorization, error) {
	s.t.Errorf("the store is asked for a challenge %q of %s", t, id)
	return nil, acme.ErrNotFound
}

func TestAChallengeOfATypeThatThereIsNotIsNotFound(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	c := acmetest.StartServer(t, &unasked{memory, t}, server.Config{Validator: &proof{store: memory}}).NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	challenge := must(c.GetAuthorization(t.Context(), order.Authorizations[0]))(t).Challenges[0].URL
	for _, typ := range []string{"http-02", "%00", "%ff"} { // the last two are no text to a database
		url := challenge[:strings.LastIndex(challenge, "/")+1] + typ
		if resp := must(c.Post(t.Context(), url, map[string]any{}))(t); resp.Status != http.StatusNotFound {
			t.Errorf("%s: status %d, %s", typ, resp.Status, resp.Body)
		}
	}
}
