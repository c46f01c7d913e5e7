package acmetest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcErrors: what is refused is refused by a problem document (RFC 8555 §6.7).
var rfcErrors = []rfcCheck{
	{says: "the type of a problem is in the namespace of ACME", check: func(r *rfcRun) error {
		resp := r.post(r.account(), r.directory.NewOrder, []byte("{"))
		t, _ := member(resp, "type").(string)
		return r.expect(strings.HasPrefix(t, acme.ProblemNamespace), resp, "a type that begins with %s", acme.ProblemNamespace)
	}},
	{says: "a problem has a detail for people", check: func(r *rfcRun) error {
		resp := r.post(r.account(), r.directory.NewOrder, []byte("{"))
		return r.expect(resp.Problem != nil && resp.Problem.Detail != "", resp, "a detail")
	}},
	{says: "the status in a problem is that of HTTP", check: func(r *rfcRun) error {
		c := r.account()
		for _, resp := range []*Response{
			r.post(c, c.Directory.NewOrder, []byte("{")), r.get(c.Directory.NewOrder), r.raw(c, http.MethodPost, c.Account, "text/plain", nil),
		} {
			if resp.Problem == nil || (resp.Problem.Status != 0 && resp.Problem.Status != resp.Status) {
				return r.unlike(resp, "a problem whose status, if it says one, is %d", resp.Status)
			}
		}
		return nil
	}},
	{says: "a path that there is not is a problem of 404", check: func(r *rfcRun) error {
		return r.refusedWith(r.read(r.account(), r.directory.NewOrder+"/nothing/here"), http.StatusNotFound)
	}},
	{says: "an order that there is not is a problem of 404", check: func(r *rfcRun) error {
		c := r.account()
		return r.refusedWith(r.read(c, otherURL(r.order(c, r.name()).URL)), http.StatusNotFound)
	}},
	{says: "several bad identifiers have a subproblem each (§6.7.1)", check: func(r *rfcRun) error {
		resp := r.post(r.account(), r.directory.NewOrder, obj{"identifiers": namesOf("a_b."+r.name(), "c_d."+r.name(), r.name())})
		if err := r.refused(resp); err != nil {
			return err
		}
		ok := len(resp.Problem.Subproblems) == 2
		for _, p := range resp.Problem.Subproblems {
			ok = ok && p.Type != "" && p.Identifier != nil
		}
		return r.expect(ok, resp, "two subproblems, each with its type and identifier")
	}},
	{says: "a problem that is no subproblem has no identifier (§6.7.1)", check: func(r *rfcRun) error {
		for _, name := range []string{"a_b." + r.name(), "*.*." + r.name()} {
			resp := r.post(r.account(), r.directory.NewOrder, obj{"identifiers": namesOf(name)})
			if err := errors.Join(r.refused(resp), r.expect(member(resp, "identifier") == nil, resp, "no member identifier")); err != nil {
				return err
			}
		}
		return nil
	}},
	{says: "a problem has no subproblem of what is right", check: func(r *rfcRun) error {
		good := r.name()
		resp := r.post(r.account(), r.directory.NewOrder, obj{"identifiers": namesOf(good, "a_b."+r.name())})
		for _, p := range append([]*acme.Problem{resp.Problem}, subproblems(resp)...) {
			if p != nil && p.Identifier != nil && p.Identifier.Value == good {
				return r.unlike(resp, "no problem of %s", good)
			}
		}
		return r.refused(resp)
	}},
}

// subproblems returns those of a refusal.
func subproblems(resp *Response) []*acme.Problem {
	if resp.Problem == nil {
		return nil
	}
	return resp.Problem.Subproblems
}

// rfcResources: how resources hang together (RFC 8555 §7.1).
var rfcResources = []rfcCheck{
	{says: "a success links to the directory", check: func(r *rfcRun) error { return r.linksIndex(r.readAccount(r.account())) }},
	{says: "a refusal links to the directory", check: func(r *rfcRun) error {
		return r.linksIndex(r.post(r.account(), r.directory.NewOrder, []byte("{")))
	}},
	{says: "newNonce links to the directory", check: func(r *rfcRun) error { return r.linksIndex(r.get(r.directory.NewNonce)) }},
	{says: "objects are JSON", check: func(r *rfcRun) error {
		resp := r.readAccount(r.account())
		return r.expect(mediaType(resp) == "application/json", resp, "Content-Type: application/json")
	}},
	{says: "all URLs are https", check: func(r *rfcRun) error {
		c := r.account()
		o := r.order(c, r.name())
		resp := r.read(c, o.Authorizations[0])
		urls := []string{c.Account, o.URL, o.Finalize, o.Authorizations[0], r.authorization(c, o.Authorizations[0]).Challenges[0].URL}
		return r.expect(!slices.ContainsFunc(urls, notHTTPS), resp, "https URLs; found %q", urls)
	}},
}

// linksIndex wants a link to the directory.
func (r *rfcRun) linksIndex(resp *Response) error {
	target, ok := hasLink(resp, "index")
	return r.expect(ok && target == r.DirectoryURL, resp, `Link: <%s>;rel="index"`, r.DirectoryURL)
}

// notHTTPS reports whether text is no https URL.
func notHTTPS(text string) bool {
	u, err := url.Parse(text)
	return err != nil || u.Scheme != "https" || u.Host == ""
}

// rfcDirectory: the directory tells where all is (RFC 8555 §7.1.1).
var rfcDirectory = []rfcCheck{
	{says: "the directory is JSON and needs no signature", check: func(r *rfcRun) error {
		resp := r.get(r.DirectoryURL)
		return r.expect(resp.Status == http.StatusOK && mediaType(resp) == "application/json", resp, "200 with application/json")
	}},
	{says: "the directory has every resource that it must", check: func(r *rfcRun) error {
		resp := r.get(r.DirectoryURL)
		for _, name := range []string{"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"} {
			if text, _ := member(resp, name).(string); notHTTPS(text) {
				return r.unlike(resp, "an https URL %q", name)
			}
		}
		return nil
	}},
	{says: "the metadata of the directory has the types that it must", check: func(r *rfcRun) error {
		resp := r.get(r.DirectoryURL)
		var d struct {
			Meta struct {
				TermsOfService, Website *string
				CAAIdentities           []string
				ExternalAccountRequired *bool
			}
		}
		return r.expect(json.Unmarshal(resp.Body, &d) == nil, resp, "meta as §7.1.1 has it")
	}},
	{says: "newAuthz is in the directory as an https URL, or not at all", check: func(r *rfcRun) error {
		resp := r.get(r.DirectoryURL)
		text, there := member(resp, "newAuthz").(string)
		return r.expect(!there || !notHTTPS(text), resp, "an https URL newAuthz, or none")
	}},
}

// containsToken reports whether a header's list has a token.
func containsToken(values []string, token string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// otherURL returns the URL of an object of the same kind that there is not.
func otherURL(of string) string {
	i := strings.LastIndex(of, "/") + 1
	first := "0"
	if of[i] == '0' {
		first = "1"
	}
	return of[:i] + first + of[i+1:]
}
