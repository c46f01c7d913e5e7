package acme

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ProblemType is an ACME error type without its URN (RFC 8555 §6.7).
type ProblemType string

// ProblemNamespace is the URN that stands before every type on the wire.
const ProblemNamespace = "urn:ietf:params:acme:error:"

// The problem types, each with an entry in [ProblemTypes].
const (
	AccountDoesNotExist     ProblemType = "accountDoesNotExist"
	AlreadyReplaced         ProblemType = "alreadyReplaced"
	AlreadyRevoked          ProblemType = "alreadyRevoked"
	BadCSR                  ProblemType = "badCSR"
	BadNonce                ProblemType = "badNonce"
	BadPublicKey            ProblemType = "badPublicKey"
	BadRevocationReason     ProblemType = "badRevocationReason"
	BadSignatureAlgorithm   ProblemType = "badSignatureAlgorithm"
	CAA                     ProblemType = "caa"
	Compound                ProblemType = "compound"
	Connection              ProblemType = "connection"
	DNSProblem              ProblemType = "dns"
	ExternalAccountRequired ProblemType = "externalAccountRequired"
	IncorrectResponse       ProblemType = "incorrectResponse"
	InvalidContact          ProblemType = "invalidContact"
	InvalidProfile          ProblemType = "invalidProfile"
	Malformed               ProblemType = "malformed"
	OrderNotReady           ProblemType = "orderNotReady"
	RateLimited             ProblemType = "rateLimited"
	RejectedIdentifier      ProblemType = "rejectedIdentifier"
	ServerInternal          ProblemType = "serverInternal"
	TLS                     ProblemType = "tls"
	Unauthorized            ProblemType = "unauthorized"
	UnsupportedContact      ProblemType = "unsupportedContact"
	UnsupportedIdentifier   ProblemType = "unsupportedIdentifier"
	UserActionRequired      ProblemType = "userActionRequired"
)

// ProblemTypes is the one table of problem types: the HTTP status that each is
// answered with and where it is defined. Everything that lists the types walks it.
var ProblemTypes = map[ProblemType]struct {
	Status    int
	Reference string
}{
	AccountDoesNotExist:     {http.StatusBadRequest, "RFC 8555 §6.7"},
	AlreadyReplaced:         {http.StatusConflict, "RFC 9773 §7.4"},
	AlreadyRevoked:          {http.StatusBadRequest, "RFC 8555 §6.7"},
	BadCSR:                  {http.StatusBadRequest, "RFC 8555 §6.7"},
	BadNonce:                {http.StatusBadRequest, "RFC 8555 §6.7"},
	BadPublicKey:            {http.StatusBadRequest, "RFC 8555 §6.7"},
	BadRevocationReason:     {http.StatusBadRequest, "RFC 8555 §6.7"},
	BadSignatureAlgorithm:   {http.StatusBadRequest, "RFC 8555 §6.7"},
	CAA:                     {http.StatusForbidden, "RFC 8555 §6.7"},
	Compound:                {http.StatusBadRequest, "RFC 8555 §6.7"},
	Connection:              {http.StatusBadRequest, "RFC 8555 §6.7"},
	DNSProblem:              {http.StatusBadRequest, "RFC 8555 §6.7"},
	ExternalAccountRequired: {http.StatusForbidden, "RFC 8555 §6.7"},
	IncorrectResponse:       {http.StatusForbidden, "RFC 8555 §6.7"},
	InvalidContact:          {http.StatusBadRequest, "RFC 8555 §6.7"},
	InvalidProfile:          {http.StatusBadRequest, "draft-ietf-acme-profiles §6.3"},
	Malformed:               {http.StatusBadRequest, "RFC 8555 §6.7"},
	OrderNotReady:           {http.StatusForbidden, "RFC 8555 §6.7"},
	RateLimited:             {http.StatusTooManyRequests, "RFC 8555 §6.7"},
	RejectedIdentifier:      {http.StatusBadRequest, "RFC 8555 §6.7"},
	ServerInternal:          {http.StatusInternalServerError, "RFC 8555 §6.7"},
	TLS:                     {http.StatusBadRequest, "RFC 8555 §6.7"},
	Unauthorized:            {http.StatusForbidden, "RFC 8555 §6.7"},
	UnsupportedContact:      {http.StatusBadRequest, "RFC 8555 §6.7"},
	UnsupportedIdentifier:   {http.StatusBadRequest, "RFC 8555 §6.7"},
	UserActionRequired:      {http.StatusForbidden, "RFC 8555 §6.7"},
}

// Problem is an error that a client may read (RFC 7807 as RFC 8555 §6.7 uses
// it). Every other error is answered as serverInternal with nothing of its text.
type Problem struct {
	Type   ProblemType
	Detail string
	// Status is the HTTP status; 0 stands for that of the table.
	Status int
	// Identifier is what a subproblem is about (RFC 8555 §6.7.1).
	Identifier *Identifier
	// Subproblems has one entry for each identifier that is at fault.
	Subproblems []*Problem
	// Algorithms lists the signature algorithms served; badSignatureAlgorithm
	// must carry it (RFC 8555 §6.2).
	Algorithms []string
	// RetryAfter tells when to come back; 0 says nothing. It is sent as a header.
	RetryAfter time.Duration
	// Location is sent as a header: the object that stands in the way.
	Location string
	// Link is sent as a header `Link: <…>; rel="help"`, where it is not empty.
	Link string
	// Instance is a URL for a person to visit, where it is not empty (RFC 8555 §7.3.3).
	Instance string
	// Terms is sent as a header `Link: <…>; rel="terms-of-service"`, where it is not
	// empty (RFC 8555 §7.3.3).
	Terms string
}

// Problemf returns a problem of type t with the formatted detail.
func Problemf(t ProblemType, format string, args ...any) *Problem {
	return &Problem{Type: t, Detail: fmt.Sprintf(format, args...)}
}

// Error returns the type and the detail.
func (p *Problem) Error() string { return string(p.Type) + ": " + p.Detail }

// HTTPStatus returns the status to answer with.
func (p *Problem) HTTPStatus() int {
	if p.Status != 0 {
		return p.Status
	}
	return ProblemTypes[p.Type].Status
}

// problemJSON is the wire form of a [Problem].
type problemJSON struct {
	Type        string      `json:"type"`
	Detail      string      `json:"detail,omitempty"`
	Status      int         `json:"status,omitempty"`
	Identifier  *Identifier `json:"identifier,omitempty"`
	Subproblems []*Problem  `json:"subproblems,omitempty"`
	Algorithms  []string    `json:"algorithms,omitempty"`
	Instance    string      `json:"instance,omitempty"`
}

// MarshalJSON writes the document of media type application/problem+json. The
// store keeps problems in the same form.
func (p *Problem) MarshalJSON() ([]byte, error) {
	return json.Marshal(problemJSON{
		Type: ProblemNamespace + string(p.Type), Detail: p.Detail, Status: p.HTTPStatus(),
		Identifier: p.Identifier, Subproblems: p.Subproblems, Algorithms: p.Algorithms,
		Instance: p.Instance,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Problem) UnmarshalJSON(data []byte) error {
	var w problemJSON
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*p = Problem{
		Type: ProblemType(strings.TrimPrefix(w.Type, ProblemNamespace)), Detail: w.Detail, Status: w.Status,
		Identifier: w.Identifier, Subproblems: w.Subproblems, Algorithms: w.Algorithms,
		Instance: w.Instance,
	}
	return nil
}

// maxExcerpt bounds what a problem repeats of a peer's text, in bytes.
const maxExcerpt = 100

// Excerpt returns s fit to stand in a problem or a log line: control
// characters escaped and cut to about a hundred bytes. What a peer sent (a
// client, a challenge response, a DNS record) goes through it.
func Excerpt(s string) string {
	cut := len(s) > maxExcerpt
	if cut {
		s = strings.ToValidUTF8(s[:maxExcerpt], "")
	}
	s = strings.Trim(strconv.Quote(s), `"`)
	if cut {
		s += "…"
	}
	return s
}
