package server_test

import (
	"crypto"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/server"
)

func TestNewAccountWithAKnownKeyReturnsTheSameAccount(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewClient(t)
	created := must(c.NewAccount(t.Context(), map[string]any{"contact": []string{"mailto:a@example.com"}}))(t)
	first := c.Account
	c.Account = ""
	again := must(c.NewAccount(t.Context(), map[string]any{"contact": []string{"mailto:b@example.com"}}))(t)
	if created.Status != http.StatusCreated || again.Status != http.StatusOK || c.Account != first {
		t.Errorf("status %d then %d, %s then %s; want 201, 200 and the same account", created.Status, again.Status, first, c.Account)
	}
	if !strings.Contains(string(again.Body), "a@example.com") {
		t.Errorf("the second newAccount changed the contact: %s", again.Body)
	}
}

func TestOnlyReturnExistingMakesNoAccount(t *testing.T) {
	t.Parallel()
	// Neither terms nor a binding are asked for (RFC 8555 §7.3.1).
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{
		Meta: server.Meta{TermsOfService: "https://ca.example/terms"}, ExternalAccounts: server.ExternalAccounts{Required: true},
	})
	c := s.NewClient(t)
	for range 2 {
		resp := must(c.Post(t.Context(), c.Directory.NewAccount, map[string]bool{"onlyReturnExisting": true}))(t)
		if resp.Problem == nil || resp.Problem.Type != acme.AccountDoesNotExist || resp.Status != http.StatusBadRequest {
			t.Errorf("status %d, problem %v; want accountDoesNotExist", resp.Status, resp.Problem)
		}
	}
}

func TestTermsThatAreNotAgreedToAreLinked(t *testing.T) {
	t.Parallel()
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{Meta: server.Meta{TermsOfService: "https://ca.example/terms"}})
	c := s.NewClient(t)
	resp := must(c.Post(t.Context(), c.Directory.NewAccount, map[string]bool{"termsOfServiceAgreed": false}))(t)
	if resp.Problem == nil || resp.Problem.Type != acme.UserActionRequired {
		t.Fatalf("problem %v, want userActionRequired", resp.Problem)
	}
	if links := strings.Join(resp.Header.Values("Link"), " "); !strings.Contains(links, `<https://ca.example/terms>;rel="terms-of-service"`) {
		t.Errorf("Link is %q", links)
	}
	if resp.Problem.Instance != "https://ca.example/terms" {
		t.Errorf("instance is %q", resp.Problem.Instance)
	}
}

func TestContactsAreMailAddresses(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	for contact, want := range map[string]acme.ProblemType{
		"mailto:a\u009b2J@example.com":  acme.InvalidContact,
		"mailto:a\u202eb@example.com":   acme.InvalidContact,
		"tel:+4912345":                  acme.UnsupportedContact,
		"mailto:":                       acme.InvalidContact,
		"mailto:a@example.com,b@x.test": acme.InvalidContact,
		"mailto:a@example.com?subject=": acme.InvalidContact,
		"mailto:A <a@example.com>":      acme.InvalidContact,
	} {
		c := s.NewClient(t)
		resp := must(c.Post(t.Context(), c.Directory.NewAccount, map[string]any{"contact": []string{contact}}))(t)
		if resp.Problem == nil || resp.Problem.Type != want {
			t.Errorf("%q: problem %v, want %s", contact, resp.Problem, want)
		}
	}
}

func TestADeactivatedAccountIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	order := must(c.NewOrder(t.Context(), "a.example"))(t)
	resp := must(c.Post(t.Context(), c.Account, map[string]string{"status": "deactivated"}))(t)
	if resp.Status != http.StatusOK || !strings.Contains(string(resp.Body), `"deactivated"`) {
		t.Fatalf("status %d, %s", resp.Status, resp.Body)
	}
	for _, url := range []string{c.Account, order.URL, order.Finalize, c.Directory.NewOrder} {
		resp := must(c.Post(t.Context(), url, nil))(t)
		if resp.Status != http.StatusUnauthorized || resp.Problem.Type != acme.Unauthorized {
			t.Errorf("%s: status %d, problem %v; want 401 unauthorized", url, resp.Status, resp.Problem)
		}
	}
	c.Account = ""
	resp = must(c.Post(t.Context(), c.Directory.NewAccount, map[string]any{}))(t)
	if resp.Status != http.StatusUnauthorized {
		t.Errorf("newAccount with its key: status %d, want 401", resp.Status)
	}
}

func TestContactsAreReplaced(t *testing.T) {
	t.Parallel()
	s := startTrusted(t)
	c := s.NewAccount(t)
	for _, contact := range [][]string{{"mailto:a@example.com"}, {}} {
		resp := must(c.Post(t.Context(), c.Account, map[string]any{"contact": contact}))(t)
		var got struct{ Contact []string }
		if err := resp.Decode(&got); err != nil || len(got.Contact) != len(contact) {
			t.Errorf("contact is %v, want %v", got.Contact, contact)
		}
	}
	// RFC 8555 §7.3.2: a status that is not the client's to set is ignored.
	resp := must(c.Post(t.Context(), c.Account, map[string]string{"status": "revoked"}))(t)
	var got struct{ Status acme.AccountStatus }
	if err := resp.Decode(&got); err != nil || resp.Status != http.StatusOK || got.Status != acme.AccountValid {
		t.Errorf("status revoked: %d, %s; want 200 and an account that is valid", resp.Status, resp.Body)
	}
}

// bindings are external account bindings, right and wrong.
var bindings = []struct {
	name string
	key  string // the HMAC key
	// change alters the inner JWS's header.
	change map[string]any
	want   acme.ProblemType // "" for success
}{
	{name: "a good binding", key: "a key of thirty-two octets......"},
	{name: "the wrong key", key: "another key of thirty-two octets", want: acme.Unauthorized},
	{name: "an unknown identifier", key: "a key of thirty-two octets......", change: map[string]any{"kid": "nobody"}, want: acme.Unauthorized},
	{name: "another url", key: "a key of thirty-two octets......", change: map[string]any{"url": "https://ca.example/"}, want: acme.Malformed},
	{name: "a nonce", key: "a key of thirty-two octets......", change: map[string]any{"nonce": "x"}, want: acme.Malformed},
}

func TestAnExternalAccountBindingMustBeRight(t *testing.T) {
	t.Parallel()
	s := acmetest.StartServer(t, acmetest.NewMemory(), server.Config{ExternalAccounts: server.ExternalAccounts{
		Required: true, Keys: map[string][]byte{"tenant": []byte("a key of thirty-two octets......")},
	}})
	for _, tt := range bindings {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := s.NewClient(t)
			header := map[jose.HeaderKey]any{"kid": "tenant", "url": c.Directory.NewAccount}
			for k, v := range tt.change {
				header[jose.HeaderKey(k)] = v
			}
			binding := bind(t, []byte(tt.key), header, publicJWK(c.Key))
			payload := map[string]any{"externalAccountBinding": binding}
			resp := must(c.Post(t.Context(), c.Directory.NewAccount, payload))(t)
			if got := problemType(resp); got != tt.want {
				t.Fatalf("status %d, problem %v; want %q", resp.Status, resp.Problem, tt.want)
			}
			var account struct{ ExternalAccountBinding any }
			if err := resp.Decode(&account); tt.want == "" && (err != nil || !cmp.Equal(account.ExternalAccountBinding, binding)) {
				t.Errorf("the account shows the binding %v, %v; want %v", account.ExternalAccountBinding, err, binding)
			}
			// Issuers that are made again bind again (protocol rule 9).
			if again := must(c.Post(t.Context(), c.Directory.NewAccount, payload))(t); tt.want == "" && again.Status != http.StatusOK {
				t.Errorf("binding again: status %d, want 200", again.Status)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		c := s.NewClient(t)
		if got := problemType(must(c.Post(t.Context(), c.Directory.NewAccount, map[string]any{}))(t)); got != acme.ExternalAccountRequired {
			t.Errorf("problem %q, want externalAccountRequired", got)
		}
	})
}

// bind returns an external account binding.
func bind(t *testing.T, mac []byte, header map[jose.HeaderKey]any, jwk any) any {
	t.Helper()
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: mac}, &jose.SignerOptions{ExtraHeaders: header}))(t)
	payload := must(jwk.(jose.JSONWebKey).MarshalJSON())(t)
	var flat map[string]any
	if err := (&acmetest.Response{Body: []byte(must(signer.Sign(payload))(t).FullSerialize())}).Decode(&flat); err != nil {
		t.Fatal(err)
	}
	return flat
}

// problemType returns the type of the problem answered, or "".
func problemType(r *acmetest.Response) acme.ProblemType {
	if r.Problem == nil {
		return ""
	}
	return r.Problem.Type
}

func TestOfAJWKOnlyTheKeyIsKept(t *testing.T) {
	t.Parallel()
	memory := acmetest.NewMemory()
	s := acmetest.StartServer(t, memory, server.Config{})
	kept := func(key crypto.Signer) {
		t.Helper()
		bare := &jose.JSONWebKey{Key: key.Public()}
		account := must(memory.AccountByKey(t.Context(), must(acme.ThumbprintOf(bare))(t)))(t)
		if diff := cmp.Diff(bare, account.Key); diff != "" {
			t.Errorf("-want +kept\n%s", diff)
		}
	}
	decorated := func(key crypto.Signer) jose.JSONWebKey {
		return jose.JSONWebKey{Key: key.Public(), KeyID: "a name of the client's own", Use: "sig", Algorithm: "ES256"}
	}
	c := s.NewClient(t)
	jws := &acmetest.JWS{
		Key: c.Key, URL: c.Directory.NewAccount, Nonce: must(c.Nonce(t.Context()))(t),
		Payload: []byte("{}"), Header: map[string]any{"jwk": decorated(c.Key)},
	}
	resp := must(c.PostJWS(t.Context(), c.Directory.NewAccount, jws))(t)
	if resp.Status != http.StatusCreated {
		t.Fatalf("status %d, %s", resp.Status, resp.Body)
	}
	kept(c.Key)
	c.Account = resp.Header.Get("Location")
	next := acmetest.NewKey(t)
	if resp := changeKey(t, c, next, func(j *acmetest.JWS) { j.Header["jwk"] = decorated(next) }); resp.Status != http.StatusOK {
		t.Fatalf("status %d, %s", resp.Status, resp.Body)
	}
	kept(next)
}
