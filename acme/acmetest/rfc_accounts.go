package acmetest

import (
	"errors"
	"net/http"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcNewAccount: accounts are made (RFC 8555 §7.3).
var rfcNewAccount = []rfcCheck{
	{says: "a new account is 201 with its URL", check: func(r *rfcRun) error {
		resp := r.newAccount(r.client(), nil)
		return errors.Join(r.succeeds(resp, http.StatusCreated), r.expect(!notHTTPS(resp.Header.Get("Location")), resp, "a Location"))
	}},
	{says: "a new account is valid", check: func(r *rfcRun) error {
		resp := r.newAccount(r.client(), nil)
		return r.expect(member(resp, "status") == "valid", resp, `an account with "status":"valid"`)
	}},
	{says: "an account has the URL of its orders (§7.1.2)", check: func(r *rfcRun) error {
		resp := r.readAccount(r.account())
		orders, _ := member(resp, "orders").(string)
		return r.expect(!notHTTPS(orders), resp, "an https URL orders")
	}},
	{says: "an account shows its contact", check: func(r *rfcRun) error {
		resp := r.newAccount(r.client(), obj{"contact": []string{"mailto:a@example.com"}})
		return r.expect(strings.Contains(string(resp.Body), "mailto:a@example.com"), resp, "the contact that was sent")
	}},
	{says: "orders and status that a client sends are ignored", check: func(r *rfcRun) error {
		resp := r.newAccount(r.client(), obj{"orders": "https://evil.example/", "status": "revoked"})
		ok := resp.Status == http.StatusCreated && member(resp, "status") == "valid" && !strings.Contains(string(resp.Body), "evil")
		return r.expect(ok, resp, "a valid account with orders of its own")
	}},
	{says: "members that are not known are ignored", check: func(r *rfcRun) error {
		return r.succeeds(r.newAccount(r.client(), obj{"x": obj{"y": 1}}), http.StatusCreated)
	}},
	{says: "terms that are not agreed to are userActionRequired or malformed", needs: terms, check: func(r *rfcRun) error {
		return r.refused(r.newAccount(r.client(), obj{"termsOfServiceAgreed": false}), acme.UserActionRequired, acme.Malformed)
	}},
	{says: "a refusal for the terms links to them (§7.3.3)", needs: terms, check: func(r *rfcRun) error {
		resp := r.newAccount(r.client(), obj{"termsOfServiceAgreed": false})
		target, ok := hasLink(resp, "terms-of-service")
		return r.expect(ok && target == r.directory.Meta.TermsOfService, resp, `Link: <%s>;rel="terms-of-service"`, r.directory.Meta.TermsOfService)
	}},
	{says: "a refusal for the terms says where a user goes (§7.3.3)", needs: terms, check: func(r *rfcRun) error {
		resp := r.newAccount(r.client(), obj{"termsOfServiceAgreed": false})
		instance, _ := member(resp, "instance").(string)
		return r.expect(instance != "", resp, `a member "instance"`)
	}},
	{says: "a contact that is no mailto is unsupportedContact", check: contactRefused("tel:+4912345", acme.UnsupportedContact)},
	{says: "a contact that is no URL is refused", check: contactRefused("a@example.com", acme.UnsupportedContact, acme.InvalidContact)},
	{says: "an empty contact is refused", check: contactRefused("", acme.UnsupportedContact, acme.InvalidContact)},
	{says: "a mailto without an address is invalidContact", check: contactRefused("mailto:", acme.InvalidContact)},
	{says: "a mailto with something else than an address is invalidContact", check: contactRefused("mailto:nobody", acme.InvalidContact)},
	{says: "a mailto with two addresses is invalidContact", check: contactRefused("mailto:a@example.com,b@example.com", acme.InvalidContact)},
	{says: "a mailto with header fields is invalidContact", check: contactRefused("mailto:a@example.com?subject=x", acme.InvalidContact)},
	{says: "a mailto with a line break is refused", check: contactRefused("mailto:a@example.com\r\nBcc: b@example.com")},
	{says: "a contact that is no list is malformed", check: func(r *rfcRun) error {
		return r.refused(r.newAccount(r.client(), obj{"contact": "mailto:a@example.com"}), acme.Malformed)
	}},
	{says: "a payload of newAccount that is no object is malformed", check: func(r *rfcRun) error {
		c := r.client()
		return errors.Join(
			r.refused(r.post(c, c.Directory.NewAccount, []byte(`[1]`)), acme.Malformed),
			r.refused(r.post(c, c.Directory.NewAccount, []byte(` null`)), acme.Malformed),
		)
	}},
}

// rfcFindAccount: accounts are found by their key (RFC 8555 §7.3.1).
var rfcFindAccount = []rfcCheck{
	{says: "a known key is 200 with the URL of its account", check: func(r *rfcRun) error {
		return r.sameAccount(nil)
	}},
	{says: "onlyReturnExisting finds the account of a key", check: func(r *rfcRun) error {
		return r.sameAccount(obj{"onlyReturnExisting": true})
	}},
	{says: "onlyReturnExisting is accountDoesNotExist for a key that nobody has", check: func(r *rfcRun) error {
		c := r.client()
		return r.refusedWith(r.post(c, c.Directory.NewAccount, obj{"onlyReturnExisting": true}), http.StatusBadRequest, acme.AccountDoesNotExist)
	}},
	{says: "onlyReturnExisting makes no account", check: func(r *rfcRun) error {
		c := r.client()
		for range 2 {
			if err := r.refused(r.newAccount(c, obj{"onlyReturnExisting": true}), acme.AccountDoesNotExist); err != nil {
				return err
			}
		}
		return nil
	}},
	{says: "newAccount with a known key changes no contact", check: func(r *rfcRun) error {
		c := r.client()
		r.setUp("newAccount", r.newAccount(c, obj{"contact": []string{"mailto:a@example.com"}}).Err())
		resp := r.newAccount(c, obj{"contact": []string{"mailto:b@example.com"}})
		return r.expect(!strings.Contains(string(resp.Body), "b@example.com"), resp, "the contact as it was")
	}},
}

// rfcAccountUpdate: accounts are changed by their owner (RFC 8555 §7.3.2).
var rfcAccountUpdate = []rfcCheck{
	{says: "a contact is replaced", check: func(r *rfcRun) error {
		c := r.account()
		resp := r.post(c, c.Account, obj{"contact": []string{"mailto:b@example.com"}})
		return errors.Join(r.succeeds(resp), r.expect(strings.Contains(string(resp.Body), "b@example.com"), resp, "the new contact"))
	}},
	{says: "contacts are taken away by an empty list", check: func(r *rfcRun) error {
		c := r.client()
		created := r.newAccount(c, obj{"contact": []string{"mailto:a@example.com"}})
		c.Account = created.Header.Get("Location")
		resp := r.post(c, c.Account, obj{"contact": []string{}})
		return errors.Join(r.succeeds(resp), r.expect(!strings.Contains(string(resp.Body), "a@example.com"), resp, "no contact"))
	}},
	{says: "a contact that is not supported changes nothing", check: func(r *rfcRun) error {
		c := r.account()
		if err := r.refused(r.post(c, c.Account, obj{"contact": []string{"tel:+4912345"}}), acme.UnsupportedContact); err != nil {
			return err
		}
		resp := r.readAccount(c)
		return r.expect(!strings.Contains(string(resp.Body), "tel:"), resp, "an account without the contact")
	}},
	{says: "a client cannot revoke its account", check: func(r *rfcRun) error {
		c := r.account()
		resp := r.post(c, c.Account, obj{"status": "revoked", "contact": []string{"mailto:b@example.com"}})
		if err := r.expect(strings.Contains(string(resp.Body), "b@example.com"), resp, "the new contact: a status is ignored"); err != nil {
			return err
		}
		resp = r.readAccount(c)
		return r.expect(member(resp, "status") == "valid", resp, "an account that is valid")
	}},
	{says: "a client cannot set its key by an update", check: func(r *rfcRun) error {
		c := r.account()
		r.post(c, c.Account, obj{"key": jwkOf(NewKey(r.t)), "contact": []string{}})
		return r.succeeds(r.readAccount(c))
	}},
	{says: "an account is shown to nobody else", check: func(r *rfcRun) error {
		c := r.client()
		created := r.newAccount(c, obj{"contact": []string{"mailto:secret@example.com"}})
		return r.withheld(r.read(r.account(), created.Header.Get("Location")), "secret@example.com")
	}},
	{says: "an account is changed by nobody else", check: func(r *rfcRun) error {
		owner, other := r.account(), r.account()
		if err := r.withheld(r.post(other, owner.Account, obj{"status": "deactivated"}), ""); err != nil {
			return err
		}
		return r.succeeds(r.readAccount(owner))
	}},
}

// rfcAccountDeactivation: accounts are given up for good (RFC 8555 §7.3.6).
var rfcAccountDeactivation = []rfcCheck{
	{says: "an account is deactivated by its owner", check: func(r *rfcRun) error {
		c := r.account()
		resp := r.post(c, c.Account, obj{"status": "deactivated"})
		return r.expect(resp.Status == http.StatusOK && member(resp, "status") == "deactivated", resp, "200, deactivated")
	}},
	{says: "a deactivated account is not read", check: deactivated(func(c *Client, _ *Order) (string, any) { return c.Account, nil })},
	{says: "a deactivated account makes no order", check: deactivated(func(c *Client, _ *Order) (string, any) {
		return c.Directory.NewOrder, obj{"identifiers": namesOf("a.rfc.example")}
	})},
	{says: "a deactivated account reads no order", check: deactivated(func(_ *Client, o *Order) (string, any) { return o.URL, nil })},
	{says: "a deactivated account reads no authorization", check: deactivated(func(_ *Client, o *Order) (string, any) { return o.Authorizations[0], nil })},
	{says: "a deactivated account finalizes nothing", check: deactivated(func(_ *Client, o *Order) (string, any) { return o.Finalize, obj{"csr": "MA"} })},
	{says: "a deactivated account changes no key", check: deactivated(func(c *Client, _ *Order) (string, any) { return c.Directory.KeyChange, obj{} })},
	{says: "a deactivated account revokes nothing", check: deactivated(func(c *Client, _ *Order) (string, any) {
		return c.Directory.RevokeCert, obj{"certificate": "MA"}
	})},
	{says: "a deactivated account does not become valid again", check: deactivated(func(c *Client, _ *Order) (string, any) {
		return c.Account, obj{"status": "valid"}
	})},
	{says: "the key of a deactivated account makes no new one", check: func(r *rfcRun) error {
		c := r.account()
		r.setUp("deactivate", r.post(c, c.Account, obj{"status": "deactivated"}).Err())
		c.Account = ""
		return r.refused(r.newAccount(c, nil), acme.Unauthorized)
	}},
}

// terms says why terms of service cannot be tested.
func terms(s *rfcSuite) string {
	if s.directory.Meta.TermsOfService == "" {
		return "the directory has no termsOfService"
	}
	return ""
}

// newAccount sends newAccount by the key of c, with members beside those it needs.
func (r *rfcRun) newAccount(c *Client, members obj) *Response {
	payload := r.accountPayload(c)
	merge(payload, members)
	return r.post(&Client{HTTP: c.HTTP, Directory: c.Directory, Key: c.Key}, c.Directory.NewAccount, payload)
}

// sameAccount makes an account and asks for it again, with a payload or as before.
func (r *rfcRun) sameAccount(payload obj) error {
	c := r.account()
	first := c.Account
	if payload == nil {
		payload = r.accountPayload(c)
	}
	c.Account = ""
	resp := r.post(c, c.Directory.NewAccount, payload)
	return r.expect(resp.Status == http.StatusOK && resp.Header.Get("Location") == first, resp, "200 with Location %s", first)
}

// contactRefused makes an account with a contact.
func contactRefused(contact string, types ...acme.ProblemType) func(*rfcRun) error {
	return func(r *rfcRun) error {
		return r.refused(r.newAccount(r.client(), obj{"contact": []string{contact}}), types...)
	}
}

// deactivated sends a request as an account that was given up.
func deactivated(request func(c *Client, o *Order) (url string, payload any)) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.account()
		o := r.order(c, r.name())
		r.setUp("deactivate", r.post(c, c.Account, obj{"status": "deactivated"}).Err())
		url, payload := request(c, o)
		return r.refusedWith(r.post(c, url, payload), http.StatusUnauthorized, acme.Unauthorized)
	}
}
