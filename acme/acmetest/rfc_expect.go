package acmetest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcMismatch is the text of a check that failed.
type rfcMismatch struct{ sent, found, want string }

// Error tells what was sent, what was found and what would be right.
func (m *rfcMismatch) Error() string {
	return fmt.Sprintf("  sent:  %s\n  found: %s\n  want:  %s", m.sent, m.found, m.want)
}

// unlike returns the failure of a check by its last answer.
func (r *rfcRun) unlike(resp *Response, format string, args ...any) error {
	return &rfcMismatch{sent: r.sent, found: describeResponse(resp), want: fmt.Sprintf(format, args...)}
}

// expect returns the failure of a check unless ok.
func (r *rfcRun) expect(ok bool, resp *Response, format string, args ...any) error {
	if ok {
		return nil
	}
	return r.unlike(resp, format, args...)
}

// succeeds wants an answer of a status; of 200 where none is named.
func (r *rfcRun) succeeds(resp *Response, statuses ...int) error {
	if len(statuses) == 0 {
		statuses = []int{http.StatusOK}
	}
	return r.expect(slices.Contains(statuses, resp.Status), resp, "a success, %v", statuses)
}

// refused wants a problem document with a status of 4xx, and one of the types
// where any is named.
func (r *rfcRun) refused(resp *Response, types ...acme.ProblemType) error {
	want := "a refusal: 4xx with a problem document"
	if len(types) > 0 {
		want += fmt.Sprintf(" of type %v", types)
	}
	isClients := resp.Status >= 400 && resp.Status < 500
	isType := resp.Problem != nil && (len(types) == 0 || slices.Contains(types, resp.Problem.Type))
	return r.expect(isClients && isType, resp, "%s", want)
}

// refusedWith wants a refusal of one status.
func (r *rfcRun) refusedWith(resp *Response, status int, types ...acme.ProblemType) error {
	if err := r.refused(resp, types...); err != nil {
		return err
	}
	return r.expect(resp.Status == status, resp, "a refusal with status %d", status)
}

// withheld wants that an object is refused to a stranger, by whichever type: a
// server may pretend that there is none. Nothing of it may stand in the answer.
func (r *rfcRun) withheld(resp *Response, secret string) error {
	return errors.Join(
		r.expect(resp.Status >= 400 && resp.Status < 500, resp, "a refusal: the object belongs to another account"),
		r.expect(secret == "" || !strings.Contains(string(resp.Body), secret), resp, "an answer without %q, which is another account's", secret),
	)
}

// hasLink reports whether an answer has a Link of a relation (RFC 8288), and its target.
func hasLink(resp *Response, relation string) (target string, ok bool) {
	for _, header := range resp.Header.Values("Link") {
		for header != "" {
			_, rest, _ := strings.Cut(header, "<")
			target, rest, _ := strings.Cut(rest, ">") // which may have a comma
			parameters, next, _ := strings.Cut(rest, ",")
			_, params, err := mime.ParseMediaType("x/x" + parameters)
			if err == nil && params["rel"] == relation {
				return target, true
			}
			header = next
		}
	}
	return "", false
}

// mediaType returns the media type of an answer without parameters.
func mediaType(resp *Response) string {
	t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // "" is unlike any
	return t
}

// rfcExcerpt bounds what a failure shows of a body.
const rfcExcerpt = 600

// describeResponse shows an answer.
func describeResponse(resp *Response) string {
	if resp == nil {
		return "no answer"
	}
	body := resp.Body
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil {
		body = compact.Bytes()
	}
	if len(body) > rfcExcerpt {
		body = append(slices.Clone(body[:rfcExcerpt]), "…"...)
	}
	var header strings.Builder
	for _, name := range []string{"Content-Type", "Location", "Link", "Retry-After", "Replay-Nonce", "Cache-Control"} {
		if values := resp.Header.Values(name); len(values) > 0 {
			fmt.Fprintf(&header, "; %s: %s", name, strings.Join(values, ", "))
		}
	}
	return fmt.Sprintf("%d %s%s; %s", resp.Status, http.StatusText(resp.Status), header.String(), body)
}

// describeRequest shows a request; of a JWS what was signed.
func describeRequest(method, url, contentType string, body []byte) string {
	text := method + " " + url
	if contentType != "" && contentType != "application/jose+json" {
		text += " as " + contentType
	}
	var jws struct {
		Protected, Payload any
		Header             json.RawMessage
	}
	if json.Unmarshal(body, &jws) != nil {
		return text + excerptOf(" ", body)
	}
	return text + excerptOf("\n    protected ", decoded(jws.Protected)) + excerptOf("\n    payload ", decoded(jws.Payload)) +
		excerptOf("\n    header ", jws.Header)
}

// decoded returns what a member of a JWS has in base64url, or the member as it is.
func decoded(member any) []byte {
	encoded, _ := member.(string)
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return []byte(encoded)
	}
	return raw
}

// excerptOf returns the beginning of what was sent, behind a label.
func excerptOf(label string, text []byte) string {
	if len(text) == 0 {
		return ""
	}
	if len(text) > rfcExcerpt {
		return label + string(text[:rfcExcerpt]) + "…"
	}
	return label + string(text)
}
