package acmetest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcOrderLists: an account lists its orders (RFC 8555 §7.1.2.1).
var rfcOrderLists = []rfcCheck{
	{says: "the list of orders has those that are not finished", check: func(r *rfcRun) error {
		c := r.account()
		o := r.order(c, r.name())
		resp := r.read(c, r.ordersURL(c))
		var list struct{ Orders []string }
		return r.expect(resp.Decode(&list) == nil && slices.Contains(list.Orders, o.URL), resp, "a list with %s", o.URL)
	}},
	{says: "the list of orders is shown to nobody else", check: func(r *rfcRun) error {
		c := r.account()
		o := r.order(c, r.name())
		return r.withheld(r.read(r.account(), r.ordersURL(c)), o.URL)
	}},
	{says: "the list of orders is not read by GET", check: func(r *rfcRun) error {
		return r.refusedWith(r.get(r.ordersURL(r.account())), http.StatusMethodNotAllowed)
	}},
	{says: "the pages of the list have each order once", check: pagesOnce},
}

// ordersURL returns the URL of an account's orders.
func (r *rfcRun) ordersURL(c *Client) string {
	orders, _ := member(r.readAccount(c), "orders").(string)
	if orders == "" {
		r.setUp("read the account", r.unlike(nil, "a URL of its orders"))
	}
	return orders
}

// pagesOnce makes some orders and reads the whole list.
func pagesOnce(r *rfcRun) error {
	const orders = 5
	c := r.account()
	want := map[string]int{}
	for range orders {
		want[r.order(c, r.name()).URL] = 0
	}
	for next, more := r.ordersURL(c), true; more; {
		resp := r.read(c, next)
		var list struct{ Orders []string }
		if resp.Status != http.StatusOK || resp.Decode(&list) != nil {
			return r.unlike(resp, "a page of the list")
		}
		for _, o := range list.Orders {
			want[o]++
		}
		next, more = hasLink(resp, "next")
	}
	for o, times := range want {
		if times != 1 {
			return &rfcMismatch{r.sent, o + " is not on the pages, or more than once", "each of the orders, once"}
		}
	}
	return nil
}

// rfcNewOrder: orders are made (RFC 8555 §7.4).
var rfcNewOrder = []rfcCheck{
	{says: "a new order is 201 with its URL", check: func(r *rfcRun) error {
		resp := r.newOrder(obj{"identifiers": namesOf(r.name())})
		return r.expect(resp.Status == http.StatusCreated && !notHTTPS(resp.Header.Get("Location")), resp, "201 with a Location")
	}},
	{says: "an order has what it must: status, expiry, identifiers, authorizations, finalize", check: func(r *rfcRun) error {
		resp := r.newOrder(obj{"identifiers": namesOf(r.name(), r.name())})
		o, err := resp.order("")
		ok := err == nil && (o.Status == acme.OrderPending || o.Status == acme.OrderReady) && o.Expires.After(time.Now()) &&
			len(o.Identifiers) == 2 && len(o.Authorizations) == 2 && !notHTTPS(o.Finalize) && o.Certificate == ""
		return r.expect(ok, resp, "an order for two identifiers, pending or ready, with two authorizations and no certificate")
	}},
	{says: "an order is read as it was made", check: func(r *rfcRun) error {
		c := r.account()
		o := r.order(c, r.name())
		resp := r.read(c, o.URL)
		again, err := resp.order(o.URL)
		return r.expect(err == nil && again.Finalize == o.Finalize && slices.Equal(again.Identifiers, o.Identifiers), resp, "the order %+v", o)
	}},
	{says: "an order is shown to nobody else", check: func(r *rfcRun) error {
		name := r.name()
		return r.withheld(r.read(r.account(), r.order(r.account(), name).URL), name)
	}},
	{says: "a status that a client sends is ignored", check: func(r *rfcRun) error {
		resp := r.newOrder(obj{"identifiers": namesOf(r.name()), "status": "valid", "certificate": "https://evil.example/"})
		o, err := resp.order("")
		return r.expect(err == nil && o.Status != acme.OrderValid && o.Certificate == "", resp, "a pending or ready order")
	}},
	{says: "members of an order that are not known are ignored", check: func(r *rfcRun) error {
		return r.succeeds(r.newOrder(obj{"identifiers": namesOf(r.name()), "x": 1}), http.StatusCreated)
	}},
	{says: "a name that is given twice is in the order once", check: func(r *rfcRun) error {
		name := r.name()
		resp := r.newOrder(obj{"identifiers": namesOf(name, strings.ToUpper(name), name)})
		o, err := resp.order("")
		return r.expect(err == nil && len(o.Identifiers) == 1 && len(o.Authorizations) == 1, resp, "one identifier and one authorization")
	}},
	{says: "an order without identifiers is refused", check: orderRefused(obj{}, acme.Malformed)},
	{says: "an order with an empty list of identifiers is refused", check: orderRefused(obj{"identifiers": []string{}}, acme.Malformed)},
	{says: "identifiers that are no list are refused", check: orderRefused(obj{"identifiers": obj{"type": "dns", "value": "a.rfc.example"}}, acme.Malformed)},
	{says: "identifiers that are no objects are refused", check: orderRefused(obj{"identifiers": []string{"a.rfc.example"}}, acme.Malformed)},
	{says: "an identifier without a value is refused", check: orderRefused(obj{"identifiers": []obj{{"type": "dns"}}})},
	{says: "an identifier without a type is refused", check: orderRefused(obj{"identifiers": []obj{{"value": "a.rfc.example"}}})},
	{says: "an identifier of a type that is not served is unsupportedIdentifier", check: orderRefused(
		obj{"identifiers": []obj{{"type": "email", "value": "a@rfc.example"}}}, acme.UnsupportedIdentifier)},
	{says: "a payload of newOrder that is no object is malformed", check: orderRefused([]byte("1"), acme.Malformed)},
	{says: "a notBefore that is no time of RFC 3339 is refused", check: orderRefused(obj{"identifiers": namesOf("a.rfc.example"), "notBefore": "tomorrow"}, acme.Malformed)},
	{says: "a notAfter that is no time of RFC 3339 is refused", check: orderRefused(obj{"identifiers": namesOf("a.rfc.example"), "notAfter": "2999-13-01"}, acme.Malformed)},
	{says: "a notAfter in the past is refused", check: orderRefused(obj{"identifiers": namesOf("a.rfc.example"), "notAfter": "2001-01-01T00:00:00Z"})},
	{says: "a notAfter before the notBefore is refused", check: orderRefused(obj{
		"identifiers": namesOf("a.rfc.example"), "notBefore": "2998-01-02T00:00:00Z", "notAfter": "2998-01-01T00:00:00Z",
	})},
	{says: "a notAfter that cannot be granted is refused", check: orderRefused(obj{"identifiers": namesOf("a.rfc.example"), "notAfter": "2999-01-01T00:00:00Z"})},
	{says: "a certificate ends when its order asked", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		end := time.Now().Add(20 * time.Minute).UTC().Truncate(time.Second)
		resp := r.post(c, c.Directory.NewOrder, obj{"identifiers": namesOf(name), "notAfter": end.Format(time.RFC3339)})
		o, err := resp.order(resp.Header.Get("Location"))
		if err != nil { // it cannot be granted, which the server may say
			return r.refused(resp)
		}
		cert := r.issueOf(c, r.prove(c, o), NewKey(r.t), name).cert
		ends := cert.NotAfter.Sub(end).Abs() <= time.Second
		if !ends {
			return &rfcMismatch{r.sent, "a certificate that ends " + cert.NotAfter.String(), "one that ends " + end.String()}
		}
		return nil
	}},
}

// newOrder sends newOrder as a new account.
func (r *rfcRun) newOrder(payload any) *Response {
	c := r.account()
	return r.post(c, c.Directory.NewOrder, payload)
}

// orderRefused makes an order that cannot be.
func orderRefused(payload any, types ...acme.ProblemType) func(*rfcRun) error {
	return func(r *rfcRun) error { return r.refused(r.newOrder(payload), types...) }
}

// rfcIdentifiers: which names an order may have (RFC 8555 §7.1.3).
var rfcIdentifiers = []rfcCheck{
	{says: "a name in capitals is the same as in small letters", check: func(r *rfcRun) error {
		name := r.name()
		resp := r.newOrder(obj{"identifiers": namesOf(strings.ToUpper(name))})
		o, err := resp.order("")
		return r.expect(err == nil && o.Identifiers[0].Value == name, resp, "an order for %s", name)
	}},
	{says: "an empty name is refused", check: nameRefused("")},
	{says: "a name with an empty label is refused", check: nameRefused("a..rfc.example")},
	{says: "a name that begins with a dot is refused", check: nameRefused(".rfc.example")},
	{says: "a name with its last dot is refused", check: nameRefused("a.rfc.example.")},
	{says: "a name with an underscore is refused", check: nameRefused("a_b.rfc.example")},
	{says: "a name with a space is refused", check: nameRefused("a b.rfc.example")},
	{says: "a name with a line break is refused", check: nameRefused("a.rfc.example\n")},
	{says: "a name with a NUL is refused", check: nameRefused("a.rfc.example\x00.evil.example")},
	{says: "a name with a port is refused", check: nameRefused("a.rfc.example:443")},
	{says: "a URL is no name", check: nameRefused("https://a.rfc.example/")},
	{says: "a U-label is refused (RFC 5890 §2.3.2)", check: nameRefused("bücher.rfc.example")},
	{says: "a label that begins with a hyphen is refused", check: nameRefused("-a.rfc.example")},
	{says: "a label that ends with a hyphen is refused", check: nameRefused("a-.rfc.example")},
	{says: "a label of 64 octets is refused", check: nameRefused(strings.Repeat("a", 64) + ".rfc.example")},

	{says: "a name of 256 octets in good labels is refused", check: nameRefused(strings.Repeat("aaaaaaaaaaa.", 20) + "aaaa.rfc.example")},
	{says: "an address is no name", check: nameRefused("192.0.2.1")},
	{says: "an asterisk in the middle is refused", check: nameRefused("a.*.rfc.example")},
	{says: "an asterisk within a label is refused", check: nameRefused("a*.rfc.example")},
	{says: "two asterisks are refused", check: nameRefused("*.*.rfc.example")},
	{says: "an asterisk alone is refused", check: nameRefused("*")},
	{says: "an asterisk and a dot are refused", check: nameRefused("*.")},
}

// nameRefused makes an order for a name that is none.
func nameRefused(name string) func(*rfcRun) error {
	return orderRefused(obj{"identifiers": namesOf(name)}, acme.RejectedIdentifier, acme.Malformed, acme.UnsupportedIdentifier)
}
