//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"sync"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/test/invariants"
)

// replayed is the share of signed requests that are sent once more: one of so many.
const replayed = 20

// witness is a transport that notes what each signed request was answered with, and
// sends some of them again, as a thief would.
type witness struct {
	http.RoundTripper
	answers *answers
}

// answers is what the witnesses of a traffic have noted.
type answers struct {
	mu  sync.Mutex
	all []invariants.Answer
}

// RoundTrip implements [http.RoundTripper].
func (w *witness) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodPost {
		return w.RoundTripper.RoundTrip(request)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	response, err := w.send(request, body)
	if err != nil || w.answers.count()%replayed != 0 {
		return response, err
	}
	if again, err := w.send(request, body); err == nil {
		err = again.Body.Close()
		return response, err
	}
	return response, nil
}

// send sends a signed request and notes the answer.
func (w *witness) send(request *http.Request, body []byte) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Body = io.NopCloser(bytes.NewReader(body))
	response, err := w.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	seen := invariants.Answer{Route: request.URL.Path, Nonce: nonceOf(body), Status: response.StatusCode}
	if response.StatusCode >= http.StatusBadRequest {
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return nil, err
		}
		var problem acme.Problem
		if json.Unmarshal(text, &problem) == nil {
			seen.Problem = problem.Type
		}
		response.Body = io.NopCloser(bytes.NewReader(text))
	}
	w.answers.mu.Lock()
	defer w.answers.mu.Unlock()
	w.answers.all = append(w.answers.all, seen)
	return response, nil
}

// count returns how many answers were noted.
func (a *answers) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all)
}

// nonceOf returns the nonce of a JWS, or "".
func nonceOf(body []byte) string {
	var jws struct {
		Protected string `json:"protected"`
	}
	var header struct {
		Nonce string `json:"nonce"`
	}
	if json.Unmarshal(body, &jws) != nil {
		return ""
	}
	protected, err := base64.RawURLEncoding.DecodeString(jws.Protected)
	if err != nil || json.Unmarshal(protected, &header) != nil {
		return ""
	}
	return header.Nonce
}
