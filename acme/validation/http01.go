package validation

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// challengePath precedes the token in the path (RFC 8555 §8.3).
	challengePath = "/.well-known/acme-challenge/"
	maxRedirects  = 10
	// maxBody bounds what is read of an answer: a key authorization has 66 bytes,
	// and white space may follow.
	maxBody   = 1 << 10
	userAgent = "acme-ca-operator (http-01; +https://github.com/acme-ca/acme-ca-operator)"
	// bodySpace is what may follow the key authorization (RFC 8555 §8.3).
	bodySpace = " \t\r\n"
)

// http01 proves control by a file that a web server shows (RFC 8555 §8.3, and
// for addresses RFC 8738 §4).
type http01 struct {
	dialer *dialer
	// httpPort and httpsPort are the ports of the two schemes, and the only ones a
	// redirect may name.
	httpPort, httpsPort int
	// timeout bounds the exchange with one server of the chain.
	timeout time.Duration
}

// answer is what a server said to one request.
type answer struct {
	from     netip.AddrPort
	status   int
	body     string // at most maxBody+1 bytes
	location string // of a redirect
}

// isRedirect reports whether a status sends the client elsewhere for the same
// document.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// prove fetches the document, by way of redirects if it must.
func (m *http01) prove(ctx context.Context, v *acme.Validation) *failure {
	at := &url.URL{Scheme: "http", Host: urlHost(v.Identifier), Path: challengePath + v.Token}
	trail := trail{document: at.Path, urls: []string{at.String()}}
	id := v.Identifier
	for range maxRedirects + 1 {
		a, f := m.get(ctx, at, id)
		if f != nil {
			return f.during("http-01 at %s", trail)
		}
		where := fmt.Sprintf("%s (%s)", trail, a.from)
		if !isRedirect(a.status) {
			if f := judge(a, v, trail.isDocument(at)); f != nil {
				return f.during("http-01 at %s", where)
			}
			return nil
		}
		next, nextID, f := m.follow(at, a.location, trail.isDocument(at))
		if f != nil {
			return f.during("http-01 at %s: status %d", where, a.status)
		}
		trail.add(at, next)
		at, id = next, nextID
	}
	return refused(acme.IncorrectResponse, "more than %d redirects", maxRedirects).during("http-01 at %s", trail)
}

// urlHost returns an identifier as the host of a URL.
func urlHost(id acme.Identifier) string {
	if id.Type == acme.IP && strings.Contains(id.Value, ":") {
		return "[" + id.Value + "]"
	}
	return id.Value
}

// judge decides whether an answer shows the key authorization. The body is only
// repeated to the client where shown is true.
func judge(a *answer, v *acme.Validation, shown bool) *failure {
	body := "" // as a redirect chose the document
	if shown {
		body = fmt.Sprintf(`; body begins "%s"`, acme.Excerpt(a.body))
	}
	if a.status != http.StatusOK {
		return failed(acme.IncorrectResponse, "status %d, want 200%s", a.status, body)
	}
	if len(a.body) > maxBody {
		return refused(acme.IncorrectResponse, "the body is longer than %d bytes%s", maxBody, body)
	}
	want := acme.KeyAuthorization(v.Token, v.Thumbprint)
	got := strings.TrimRight(a.body, bodySpace)
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1 {
		return nil
	}
	return refused(acme.IncorrectResponse, "the body is not the key authorization %q%s", want, body)
}

// follow returns where a redirect leads, and what is to be dialled there. The
// location is only repeated to the client where shown is true.
func (m *http01) follow(from *url.URL, location string, shown bool) (*url.URL, acme.Identifier, *failure) {
	refuse := func(why string) (*url.URL, acme.Identifier, *failure) {
		to := "redirect"
		if shown {
			to = fmt.Sprintf(`redirect to "%s"`, acme.Excerpt(location))
		}
		return nil, acme.Identifier{}, refused(acme.IncorrectResponse, "%s: %s", to, why)
	}
	if location == "" {
		return refuse("it names no location")
	}
	to, err := from.Parse(location)
	if err != nil {
		return refuse("it is not a URL")
	}
	to.User, to.Fragment, to.RawFragment = nil, "", "" // credentials are never sent
	if to.Scheme != "http" && to.Scheme != "https" {
		return refuse("only http and https are followed")
	}
	if port := m.port(to); port != m.httpPort && port != m.httpsPort {
		return refuse(fmt.Sprintf("only the ports %d and %d are followed", m.httpPort, m.httpsPort))
	}
	id, err := hostIdentifier(to.Hostname())
	if err != nil {
		return refuse("its host is neither a domain name nor an address")
	}
	return to, id, nil
}

// hostIdentifier reads the host of a URL by the same rules as what is ordered.
func hostIdentifier(host string) (acme.Identifier, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return acme.ParseIdentifier(string(acme.IP), host)
	}
	id, err := acme.ParseIdentifier(string(acme.DNS), strings.TrimSuffix(host, "."))
	if err == nil && id.IsWildcard() {
		return id, errors.New("a wildcard is not a host")
	}
	return id, err
}

// port returns the port that a URL means; 0 for what is none.
func (m *http01) port(u *url.URL) int {
	switch {
	case u.Port() != "":
		port, _ := strconv.Atoi(u.Port())
		return port
	case u.Scheme == "https":
		return m.httpsPort
	default:
		return m.httpPort
	}
}

// get asks for one URL and follows nothing. The connection is to the address that
// was checked.
func (m *http01) get(ctx context.Context, u *url.URL, id acme.Identifier) (*answer, *failure) {
	conn, from, f := m.dialer.dial(ctx, id, m.port(u))
	if f != nil {
		return nil, f
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	defer endWith(ctx, conn)()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, refused(acme.IncorrectResponse, "%s", cause(err))
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept", "*/*")
	response, err := exchange(ctx, conn, request)
	if err != nil {
		return nil, failed(problemOf(err), "%s: %s", from, cause(err))
	}
	defer response.Body.Close()
	a := &answer{from: from, status: response.StatusCode, location: response.Header.Get("Location")}
	if isRedirect(a.status) {
		return a, nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, failed(acme.Connection, "%s: status %d, and then, after %d bytes of the body: %s", from, a.status, len(body), cause(err))
	}
	a.body = string(body)
	return a, nil
}

// trail is the way that redirects led, as an error shows it.
type trail struct {
	document string // the path of the challenge's document
	urls     []string
}

// isDocument reports whether u is the challenge's document, wherever it is. Only
// then is what a server says repeated to the client: a redirect to any other
// document would make the validator its eye into our network.
func (t trail) isDocument(u *url.URL) bool {
	return u.Path == t.document && u.RawQuery == ""
}

// add notes a redirect. Of one that another document's server gave, only the
// host is shown, for the same reason.
func (t *trail) add(from, to *url.URL) {
	if !t.isDocument(from) {
		to = &url.URL{Scheme: to.Scheme, Host: to.Host, Path: "/…"}
	}
	t.urls = append(t.urls, acme.Excerpt(to.Redacted()))
}

// String returns the URL that was come to and those before it.
func (t trail) String() string {
	last := len(t.urls) - 1
	if last == 0 {
		return t.urls[0]
	}
	return fmt.Sprintf("%s (redirected from %s)", t.urls[last], strings.Join(t.urls[:last], ", "))
}
