package acmetest

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcTLSALPN01: tls-alpn-01 (RFC 8737 §3).
var rfcTLSALPN01 = []rfcCheck{
	{says: "tls-alpn-01 is met by a certificate with the digest", needs: tlsProofs, check: tlsALPN01Is(acme.AuthorizationValid, nil)},
	{says: "tls-alpn-01 is not met by another digest", needs: tlsProofs, check: tlsALPN01Is(acme.AuthorizationInvalid, func(c *x509.Certificate) {
		c.ExtraExtensions[0].Value[5] ^= 1
	})},
	{says: "tls-alpn-01 is not met without the extension", needs: tlsProofs, check: tlsALPN01Is(acme.AuthorizationInvalid, func(c *x509.Certificate) { c.ExtraExtensions = nil })},
	{says: "tls-alpn-01 is not met by an extension that is not critical", needs: tlsProofs, check: tlsALPN01Is(acme.AuthorizationInvalid, func(c *x509.Certificate) {
		c.ExtraExtensions[0].Critical = false
	})},
	{says: "tls-alpn-01 is not met by something behind the digest", needs: tlsProofs, check: tlsALPN01Is(acme.AuthorizationInvalid, func(c *x509.Certificate) {
		c.ExtraExtensions[0].Value = append(c.ExtraExtensions[0].Value, 0x05, 0x00)
	})},
	{says: "tls-alpn-01 is not met by a certificate for another name", needs: tlsProofs, check: tlsALPN01Is(acme.AuthorizationInvalid, func(c *x509.Certificate) {
		c.DNSNames = []string{"other.rfc.example"}
	})},
	{says: "tls-alpn-01 is not met by a certificate for a name more", needs: tlsProofs, check: tlsALPN01Is(acme.AuthorizationInvalid, func(c *x509.Certificate) {
		c.DNSNames = append(c.DNSNames, "other.rfc.example")
	})},
	{says: "tls-alpn-01 is not met by a certificate without names", needs: tlsProofs, check: tlsALPN01Is(acme.AuthorizationInvalid, func(c *x509.Certificate) { c.DNSNames = nil })},
}

// tlsProofs says why tls-alpn-01 cannot be tested.
func tlsProofs(s *rfcSuite) string {
	if s.TLSALPN01 == nil {
		return "the target has no responder of tls-alpn-01"
	}
	return proofs(s)
}

// tlsALPN01Is meets tls-alpn-01 with a certificate that was changed.
func tlsALPN01Is(want acme.AuthorizationStatus, change func(*x509.Certificate)) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c, o, url, ch := r.pending(acme.TLSALPN01)
		var changes []func(*x509.Certificate)
		if change != nil {
			changes = append(changes, change)
		}
		certificate, err := ChallengeCertificate(o.Identifiers[0], keyAuthorization(r, c, ch), changes...)
		r.setUp("make the certificate", err)
		r.TLSALPN01.SetCertificate(o.Identifiers[0].Value, certificate)
		return r.becomes(c, url, ch, want)
	}
}

// rfcAddresses: identifiers that are addresses (RFC 8738).
var rfcAddresses = []rfcCheck{
	{says: "an order may have an address of IPv4 (§3)", check: func(r *rfcRun) error {
		return r.succeeds(r.newOrder(addresses("192.0.2.1")), http.StatusCreated)
	}},
	{says: "an order may have an address of IPv6 (§3)", check: func(r *rfcRun) error {
		return r.succeeds(r.newOrder(addresses("2001:db8::1")), http.StatusCreated)
	}},
	{says: "an address is shown in the form of RFC 5952, or refused in another (§3)", check: func(r *rfcRun) error {
		resp := r.newOrder(addresses("2001:DB8:0:0:0:0:0:1"))
		o, err := resp.order("")
		if err != nil {
			return r.refused(resp)
		}
		return r.expect(o.Identifiers[0].Value == "2001:db8::1", resp, "2001:db8::1")
	}},
	{says: "a number that is too large for an address is refused", check: orderRefused(addresses("192.0.2.256"))},
	{says: "a network is no address", check: orderRefused(addresses("192.0.2.0/24"))},
	{says: "an address with a zone is refused", check: orderRefused(addresses("fe80::1%eth0"))},
	{says: "an address in brackets is refused", check: orderRefused(addresses("[2001:db8::1]"))},
	{says: "an address of IPv4 with leading zeros is refused", check: orderRefused(addresses("192.0.02.1"))},
	{says: "an address of IPv4 that is written as IPv6 is refused, or rewritten", check: func(r *rfcRun) error {
		resp := r.newOrder(addresses("::ffff:192.0.2.1"))
		o, err := resp.order("")
		if err != nil {
			return r.refused(resp)
		}
		return r.expect(o.Identifiers[0].Value == "192.0.2.1", resp, "192.0.2.1")
	}},
	{says: "a name is no address", check: orderRefused(addresses("a.rfc.example"))},
	{says: "dns-01 is not offered for an address (§7)", needs: proofs, check: func(r *rfcRun) error {
		c := r.account()
		return r.notOffered(c, r.orderFor(c, addresses("192.0.2.1")), acme.DNS01, "dns-account-01", "dns-persist-01")
	}},
	{says: "an address is issued for by http-01 (§4)", check: func(r *rfcRun) error {
		c := r.account()
		o := r.prove(c, r.orderFor(c, addresses(r.Address)))
		r.setUp("finalize", r.finalize(c, o, r.addressCSR()).Err())
		resp := r.read(c, r.settleOrder(c, o.URL).Certificate)
		cert := r.chain(resp)[0]
		ok := len(cert.IPAddresses) == 1 && cert.IPAddresses[0].String() == r.Address && len(cert.DNSNames) == 0
		return r.expect(ok, resp, "a certificate for the address %s, as iPAddress", r.Address)
	}},
	{says: "an address is proved by tls-alpn-01 with the name of its reverse mapping (§6)", needs: tlsProofs, check: func(r *rfcRun) error {
		c := r.account()
		o := r.orderFor(c, addresses(r.Address))
		ch := r.challenge(r.authorization(c, o.Authorizations[0]), acme.TLSALPN01)
		r.setUp("respond", r.TLSALPN01.Set(reverse(netip.MustParseAddr(r.Address)), o.Identifiers[0], keyAuthorization(r, c, ch)))
		return r.becomes(c, o.Authorizations[0], ch, acme.AuthorizationValid)
	}},
	{says: "a CSR with an address as a name is badCSR", check: func(r *rfcRun) error {
		c := r.account()
		o := r.prove(c, r.orderFor(c, addresses(r.Address)))
		return r.refused(r.finalize(c, o, r.csr(&x509.CertificateRequest{DNSNames: []string{r.Address}})), acme.BadCSR)
	}},
	{says: "a CSR with an address more is badCSR", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		template := &x509.CertificateRequest{DNSNames: []string{name}}
		template.IPAddresses = append(template.IPAddresses, netip.MustParseAddr(r.Address).AsSlice())
		return r.refused(r.finalize(c, r.ready(c, name), r.csr(template)), acme.BadCSR)
	}},
}

// addresses returns the payload of an order for addresses.
func addresses(values ...string) obj {
	ids := make([]obj, len(values))
	for i, v := range values {
		ids[i] = obj{"type": "ip", "value": v}
	}
	return obj{"identifiers": ids}
}

// addressCSR returns a CSR for the target's address.
func (r *rfcRun) addressCSR() []byte {
	template := &x509.CertificateRequest{}
	template.IPAddresses = append(template.IPAddresses, netip.MustParseAddr(r.Address).AsSlice())
	der, err := x509.CreateCertificateRequest(rand.Reader, template, NewKey(r.t))
	r.setUp("make a CSR", err)
	return der
}

// reverse returns the name of an IPv4 address in in-addr.arpa.
func reverse(addr netip.Addr) string {
	b := addr.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
}

// rfcProfiles: orders for a kind of certificate (draft-ietf-acme-profiles).
var rfcProfiles = []rfcCheck{
	{says: "the directory describes each profile", needs: profiles, check: func(r *rfcRun) error {
		for name, text := range r.directory.Meta.Profiles {
			if name == "" || text == "" {
				return r.unlike(r.get(r.DirectoryURL), "names and descriptions that are not empty")
			}
		}
		return nil
	}},
	{says: "an order has the profile that it asked for", needs: profiles, check: func(r *rfcRun) error {
		for name := range r.directory.Meta.Profiles {
			resp := r.newOrder(obj{"identifiers": namesOf(r.name()), "profile": name})
			if resp.Status != http.StatusCreated || member(resp, "profile") != name {
				return r.unlike(resp, "an order with the profile %q", name)
			}
		}
		return nil
	}},
	{says: "an order that asks for no profile may be given one of the directory", needs: profiles, check: func(r *rfcRun) error {
		resp := r.newOrder(obj{"identifiers": namesOf(r.name())})
		name, _ := member(resp, "profile").(string)
		_, known := r.directory.Meta.Profiles[name]
		return r.expect(resp.Status == http.StatusCreated && (name == "" || known), resp, "no profile, or one of meta.profiles")
	}},
	{says: "a profile that is not in the directory is invalidProfile", check: orderRefused(
		obj{"identifiers": namesOf("a.rfc.example"), "profile": "nobody's"}, acme.InvalidProfile)},
	{says: "a profile is named in the letters of the directory", needs: profiles, check: func(r *rfcRun) error {
		for name := range r.directory.Meta.Profiles {
			return r.refused(r.newOrder(obj{"identifiers": namesOf(r.name()), "profile": name + " "}), acme.InvalidProfile)
		}
		return nil
	}},
	{says: "a profile that is no string is malformed", check: orderRefused(obj{"identifiers": namesOf("a.rfc.example"), "profile": 1}, acme.Malformed)},
}

// profiles says why profiles cannot be tested.
func profiles(s *rfcSuite) string {
	if len(s.directory.Meta.Profiles) == 0 {
		return "the directory has no profiles"
	}
	return ""
}
