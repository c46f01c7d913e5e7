package server

import (
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// FuzzParseJWS: what is parsed is one signature with an algorithm that is served
// and one key, in the flattened serialization; what is not is refused by a problem.
func FuzzParseJWS(f *testing.F) {
	f.Fuzz(func(t *testing.T, body []byte) {
		jws, err := parseJWS(body)
		if err != nil {
			checkProblem(t, err)
			return
		}
		if len(jws.Signatures) != 1 {
			t.Fatalf("%d signatures", len(jws.Signatures))
		}
		header := jws.Signatures[0].Protected
		if !algorithmServed(header.Algorithm) {
			t.Errorf("algorithm %q", header.Algorithm)
		}
		if (header.JSONWebKey == nil) == (header.KeyID == "") {
			t.Errorf("both jwk and kid, or neither: %+v", header)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Errorf("it is no JSON object: %v", err)
		}
		if members["signatures"] != nil || members["header"] != nil {
			t.Error("the general serialization, or an unprotected header")
		}
		if key := header.JSONWebKey; key != nil && checkKey(key) == nil {
			if _, err := acme.ThumbprintOf(key); err != nil {
				t.Errorf("a good key has no thumbprint: %v", err)
			}
			_, _ = jws.Verify(key) // must not panic
		}
	})
}

// fuzzedAccountKey is the account's key in the corpus of bindings.
const fuzzedAccountKey = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

// FuzzExternalAccountBinding: a binding is taken only for the key identifier that
// its MAC proves, and an account's own key.
func FuzzExternalAccountBinding(f *testing.F) {
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON([]byte(fuzzedAccountKey)); err != nil {
		f.Fatal(err)
	}
	const url = "https://ca.example/new-account"
	accounts := &ExternalAccounts{Required: true, Keys: map[string][]byte{"tenant": []byte("a key of thirty-two octets......")}}
	others := &ExternalAccounts{Required: true, Keys: map[string][]byte{"tenant": []byte("another key of thirty-two octets")}}
	f.Fuzz(func(t *testing.T, binding []byte) {
		if !json.Valid(binding) { // it is a member of a payload that was parsed
			return
		}
		kid, err := accounts.verify(binding, &key, url)
		if err != nil {
			checkProblem(t, err)
			return
		}
		if kid != "tenant" {
			t.Errorf("bound to %q", kid)
		}
		if _, err := others.verify(binding, &key, url); err == nil {
			t.Error("bound by another MAC key as well")
		}
		if _, err := accounts.verify(binding, &key, url+"/"); err == nil {
			t.Error("bound for another url as well")
		}
	})
}

// checkProblem wants an error that a client may be told.
func checkProblem(t *testing.T, err error) {
	t.Helper()
	problem, ok := err.(*acme.Problem) //nolint:errorlint // it must be one itself, to be told as it is
	if !ok {
		t.Fatalf("%T, not a problem: %v", err, err)
	}
	if _, known := acme.ProblemTypes[problem.Type]; !known {
		t.Errorf("a problem of the type %q", problem.Type)
	}
	const bound = 1000
	if len(problem.Detail) > bound {
		t.Errorf("a detail of %d octets", len(problem.Detail))
	}
	for _, r := range problem.Detail {
		if r < ' ' || r == 0x7f {
			t.Errorf("a detail with the control character %q", r)
		}
	}
}
