package acmetest

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcRenewalInfo: when a certificate is best renewed (RFC 9773 §4).
var rfcRenewalInfo = []rfcCheck{
	{says: "renewal information is JSON and needs no signature", needs: renewal, check: func(r *rfcRun) error {
		resp := r.renewalInfo(r.renewable().id)
		return r.expect(resp.Status == http.StatusOK && mediaType(resp) == "application/json", resp, "200 with application/json")
	}},
	{says: "the window begins before it ends, within the lifetime", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		resp := r.renewalInfo(issued.id)
		start, end := window(resp)
		ok := !start.IsZero() && start.Before(end) && start.After(issued.cert.NotBefore) && end.Before(issued.cert.NotAfter)
		return r.expect(ok, resp, "a suggestedWindow between %s and %s", issued.cert.NotBefore, issued.cert.NotAfter)
	}},
	{says: "renewal information says when to ask again (§4.3)", needs: renewal, check: func(r *rfcRun) error {
		resp := r.renewalInfo(r.renewable().id)
		return r.expect(resp.Header.Get("Retry-After") != "", resp, "a Retry-After")
	}},
	{says: "the window of a revoked certificate is over (§4.2)", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		r.setUp("revoke", r.revoke(issued.owner, issued.cert.Raw, nil).Err())
		resp := r.renewalInfo(issued.id)
		start, end := window(resp)
		return r.expect(!end.IsZero() && start.Before(end) && end.Before(time.Now().Add(time.Minute)), resp, "a window that ends now or before")
	}},
	{says: "an ID without a dot is refused", needs: renewal, check: renewalIDRefused(func(akid, serial string) string { return akid + serial })},
	{says: "an ID with two dots is refused", needs: renewal, check: renewalIDRefused(func(akid, serial string) string { return akid + "." + serial + "." })},
	{says: "an ID without a key identifier is refused", needs: renewal, check: renewalIDRefused(func(_, serial string) string { return "." + serial })},
	{says: "an ID without a number is refused", needs: renewal, check: renewalIDRefused(func(akid, _ string) string { return akid + "." })},
	{says: "an ID with padding is refused (§4.1)", needs: renewal, check: renewalIDRefused(func(akid, serial string) string { return akid + "=." + serial })},
	{says: "an ID that is not base64url is refused", needs: renewal, check: renewalIDRefused(func(akid, serial string) string { return "!" + akid + "." + serial })},
	{says: "an ID of a number that nobody has is 404", needs: renewal, check: func(r *rfcRun) error {
		akid, _, _ := strings.Cut(r.renewable().id, ".")
		serial := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef"))
		return r.refusedWith(r.renewalInfo(akid+"."+serial), http.StatusNotFound)
	}},
	{says: "an ID of another issuer is refused", needs: renewal, check: renewalIDRefused(func(_, serial string) string {
		return base64.RawURLEncoding.EncodeToString(make([]byte, 20)) + "." + serial
	})},
}

// renewal says why renewal information cannot be tested.
func renewal(s *rfcSuite) string {
	if s.directory.RenewalInfo == "" {
		return "the directory has no renewalInfo"
	}
	return ""
}

// rfcRenewable is a certificate with its name in renewal information.
type rfcRenewable struct {
	rfcIssued
	owner *Client
	name  string
	id    string
}

// renewable issues a certificate whose serial number has no octet more in DER than it has
// by itself: of one in 256 it has, and Pebble 2.10.1 does not find what it replaces.
func (r *rfcRun) renewable() rfcRenewable {
	c, name := r.account(), r.name()
	for {
		issued := r.issue(c, name)
		if serial := issued.cert.SerialNumber.Bytes(); len(serial) == 0 || serial[0]&0x80 == 0 {
			return rfcRenewable{rfcIssued: issued, owner: c, name: name, id: RenewalID(issued.cert)}
		}
	}
}

// RenewalID returns the name of a certificate as RFC 9773 §4.1 makes it, of any
// authority: the serial number as in DER.
func RenewalID(c *x509.Certificate) string {
	serial := c.SerialNumber.Bytes()
	if len(serial) > 0 && serial[0]&0x80 != 0 {
		serial = append([]byte{0}, serial...)
	}
	return base64.RawURLEncoding.EncodeToString(c.AuthorityKeyId) + "." + base64.RawURLEncoding.EncodeToString(serial)
}

// renewalInfo asks for the information of an ID.
func (r *rfcRun) renewalInfo(id string) *Response { return r.get(r.directory.RenewalInfo + "/" + id) }

// window returns the suggestedWindow of an answer; zero where there is none.
func window(resp *Response) (start, end time.Time) {
	var info struct {
		SuggestedWindow struct{ Start, End time.Time }
	}
	if resp.Decode(&info) != nil {
		return time.Time{}, time.Time{}
	}
	return info.SuggestedWindow.Start, info.SuggestedWindow.End
}

// renewalIDRefused asks for the information of an ID that is none.
func renewalIDRefused(change func(akid, serial string) string) func(*rfcRun) error {
	return func(r *rfcRun) error {
		akid, serial, _ := strings.Cut(r.renewable().id, ".")
		return r.withheld(r.renewalInfo(change(akid, serial)), "suggestedWindow")
	}
}

// rfcReplaces: an order says which certificate it replaces (RFC 9773 §5).
var rfcReplaces = []rfcCheck{
	{says: "an order shows which certificate it replaces", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		resp := r.replace(issued.owner, issued.id, issued.name)
		return r.expect(resp.Status == http.StatusCreated && member(resp, "replaces") == issued.id, resp, `201 with "replaces":%q`, issued.id)
	}},
	{says: "a certificate that is being replaced is alreadyReplaced, 409 (§7.4)", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		r.setUp("newOrder", r.replace(issued.owner, issued.id, issued.name).Err())
		return r.refusedWith(r.replace(issued.owner, issued.id, issued.name), http.StatusConflict, acme.AlreadyReplaced)
	}},
	{says: "a certificate that was replaced is alreadyReplaced, 409 (§7.4)", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		o := r.orderFor(issued.owner, obj{"identifiers": namesOf(issued.name), "replaces": issued.id})
		r.issueOf(issued.owner, r.prove(issued.owner, o), NewKey(r.t), issued.name)
		return r.refusedWith(r.replace(issued.owner, issued.id, issued.name), http.StatusConflict, acme.AlreadyReplaced)
	}},
	{says: "a certificate is replaced again after the order became invalid", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		o := r.orderFor(issued.owner, obj{"identifiers": namesOf(issued.name), "replaces": issued.id})
		r.setUp("deactivate", r.post(issued.owner, o.Authorizations[0], obj{"status": "deactivated"}).Err())
		return r.succeeds(r.replace(issued.owner, issued.id, issued.name), http.StatusCreated)
	}},
	{says: "a certificate of another account is not replaced", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		return r.refused(r.replace(r.account(), issued.id, issued.name))
	}},
	{says: "a certificate of other names is not replaced", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		return r.refused(r.replace(issued.owner, issued.id, r.name()))
	}},
	{says: "a certificate that there is not is not replaced", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		akid, _, _ := strings.Cut(issued.id, ".")
		id := akid + "." + base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef"))
		return r.refused(r.replace(issued.owner, id, issued.name))
	}},
	{says: "what is no ID is not replaced", needs: renewal, check: func(r *rfcRun) error {
		return r.refused(r.replace(r.account(), "x", r.name()), acme.Malformed)
	}},
	{says: "an ID with a line break in it names no certificate", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		return r.refused(r.replace(issued.owner, issued.id[:4]+"\n"+issued.id[4:], issued.name), acme.Malformed)
	}},
	{says: "an order that was refused replaces nothing", needs: renewal, check: func(r *rfcRun) error {
		issued := r.renewable()
		if err := r.refused(r.replace(issued.owner, issued.id, r.name())); err != nil {
			return err
		}
		return r.succeeds(r.replace(issued.owner, issued.id, issued.name), http.StatusCreated)
	}},
}

// replace makes an order that replaces a certificate.
func (r *rfcRun) replace(c *Client, id, name string) *Response {
	return r.post(c, c.Directory.NewOrder, obj{"identifiers": namesOf(name), "replaces": id})
}
