package server

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// base is a base URL that clients reach the server by. All links in an answer
// start with the one that the request came by.
type base struct {
	host string // as in the Host header
	name string // of the host, without a port
	url  string // without a slash at the end
}

// baseOf returns the base URL that r came by; the canonical one where its Host
// is none of ours, which is not an error: what is signed is checked against it.
func (s *Server) baseOf(r *http.Request) base {
	for _, b := range s.bases {
		if b.host == r.Host {
			return b
		}
	}
	return s.bases[0]
}

func (b base) to(path string) string              { return b.url + path }
func (b base) account(id acme.ID) string          { return b.url + accountPath + id.String() }
func (b base) order(id acme.ID) string            { return b.url + orderPath + id.String() }
func (b base) orders(account acme.ID) string      { return b.account(account) + ordersSuffix }
func (b base) finalize(id acme.ID) string         { return b.order(id) + finalizeSuffix }
func (b base) authorization(id acme.ID) string    { return b.url + authzPath + id.String() }
func (b base) certificate(id acme.ID) string      { return b.url + certPath + id.String() }
func (b base) alternate(id acme.ID, n int) string { return b.certificate(id) + "/" + strconv.Itoa(n) }

func (b base) challenge(authorization acme.ID, t acme.ChallengeType) string {
	return b.url + challengePath + authorization.String() + "/" + string(t)
}

// link formats a Link header (RFC 8288).
func link(url, relation string) string { return fmt.Sprintf("<%s>;rel=%q", url, relation) }
