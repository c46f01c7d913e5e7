package acmetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"sync"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcFinalize: an order gets its certificate for a CSR (RFC 8555 §7.4).
var rfcFinalize = []rfcCheck{
	{says: "an order that was finalized is valid and has a certificate", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.ready(c, name)
		resp := r.finalize(c, o, NewCSR(r.t, NewKey(r.t), name))
		if err := r.succeeds(resp); err != nil {
			return err
		}
		settled := r.settleOrder(c, o.URL)
		return r.expect(settled.Status == acme.OrderValid && !notHTTPS(settled.Certificate), resp, "a valid order with a certificate; found %+v", settled)
	}},
	{says: "a pending order is orderNotReady, 403", needs: proofs, check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		return r.refusedWith(r.finalize(c, r.order(c, name), NewCSR(r.t, NewKey(r.t), name)), http.StatusForbidden, acme.OrderNotReady)
	}},
	{says: "a valid order is orderNotReady, 403", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.issue(c, name).order
		return r.refusedWith(r.finalize(c, o, NewCSR(r.t, NewKey(r.t), name)), http.StatusForbidden, acme.OrderNotReady)
	}},
	{says: "finalizes at once give one certificate", check: finalizeAtOnce},
	{says: "an order is finalized by nobody else", check: func(r *rfcRun) error {
		name := r.name()
		o := r.ready(r.account(), name)
		return r.withheld(r.finalize(r.account(), o, NewCSR(r.t, NewKey(r.t), name)), name)
	}},
	{says: "finalize without a payload is refused", check: func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.read(c, r.ready(c, r.name()).Finalize))
	}},
	{says: "finalize without a CSR is refused", check: csrTextRefused(func([]byte) any { return nil })},
	{says: "an empty CSR is refused", check: csrTextRefused(func([]byte) any { return "" })},
	{says: "a CSR that is no string is refused", check: csrTextRefused(func([]byte) any { return 1 })},
	{says: "a CSR in PEM is refused", check: csrTextRefused(func(der []byte) any {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	})},
	{says: "a CSR in base64 with padding is refused", check: csrTextRefused(func(der []byte) any {
		text := rawCSR(der)
		return text + padding(text) + "="
	})},
	{says: "a CSR that is no DER is refused", check: csrTextRefused(func([]byte) any { return rawCSR([]byte("no")) })},
	{says: "a CSR with something behind it is refused", check: csrTextRefused(func(der []byte) any { return rawCSR(append(der, 0)) })},
	{says: "a CSR that was cut is refused", check: csrTextRefused(func(der []byte) any { return rawCSR(der[:len(der)-1]) })},
	{says: "a CSR whose signature is wrong is badCSR", check: csrTextRefused(func(der []byte) any {
		der[len(der)-1] ^= 1
		return rawCSR(der)
	}, acme.BadCSR)},
	{says: "a CSR for another name is badCSR", check: csrRefused(func(r *rfcRun, q *x509.CertificateRequest) { q.DNSNames = []string{r.name()} })},
	{says: "a CSR with a name more is badCSR", check: csrRefused(func(r *rfcRun, q *x509.CertificateRequest) { q.DNSNames = append(q.DNSNames, r.name()) })},
	{says: "a CSR without names is badCSR", check: csrRefused(func(_ *rfcRun, q *x509.CertificateRequest) { q.DNSNames = nil })},
	{says: "a CSR with another common name is badCSR", check: csrRefused(func(r *rfcRun, q *x509.CertificateRequest) {
		q.Subject = pkix.Name{CommonName: r.name()}
	})},
	{says: "a CSR with the wildcard of its name is badCSR", check: csrRefused(func(_ *rfcRun, q *x509.CertificateRequest) { q.DNSNames[0] = "*." + q.DNSNames[0] })},
	{says: "a CSR with a mail address beside its name is badCSR", check: csrRefused(func(_ *rfcRun, q *x509.CertificateRequest) {
		q.EmailAddresses = []string{"a@rfc.example"}
	})},
	{says: "a CSR with a URI beside its name is badCSR", check: csrRefused(func(_ *rfcRun, q *x509.CertificateRequest) {
		q.URIs = []*url.URL{{Scheme: "spiffe", Host: "a.rfc.example", Path: "/x"}}
	})},
	{says: "a CSR with a name less is badCSR", check: func(r *rfcRun) error {
		c, a, b := r.account(), r.name(), r.name()
		return r.refused(r.finalize(c, r.ready(c, a, b), NewCSR(r.t, NewKey(r.t), a)), acme.BadCSR)
	}},
	{says: "a CSR with the key of the account is badCSR (§11.1)", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		return r.refused(r.finalize(c, r.ready(c, name), NewCSR(r.t, c.Key, name)), acme.BadCSR)
	}},
	{says: "a CSR with the key of another account is badCSR (§11.1)", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		return r.refused(r.finalize(c, r.ready(c, name), NewCSR(r.t, r.account().Key, name)), acme.BadCSR)
	}},
	{says: "a CSR with an RSA key of 1024 bits is badCSR", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		return r.refused(r.finalize(c, r.ready(c, name), NewCSR(r.t, rsaKey(1024), name)), acme.BadCSR)
	}},
	{says: "a CSR that asks for a CA certificate gets none", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.ready(c, name)
		resp := r.finalize(c, o, r.csr(&x509.CertificateRequest{DNSNames: []string{name}, ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}},
		}}))
		if resp.Status >= 400 {
			return r.refused(resp, acme.BadCSR)
		}
		chain := r.chain(r.read(c, r.settleOrder(c, o.URL).Certificate))
		return r.expect(isLeaf(chain[0]), resp, "a refusal, or a certificate that is no CA's")
	}},
	{says: "a name may stand in the common name alone", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		return r.succeeds(r.finalize(c, r.ready(c, name), r.csr(&x509.CertificateRequest{Subject: pkix.Name{CommonName: name}})))
	}},
	{says: "an order is still ready after a CSR that was refused", check: func(r *rfcRun) error {
		c, name := r.account(), r.name()
		o := r.ready(c, name)
		if err := r.refused(r.finalize(c, o, NewCSR(r.t, NewKey(r.t), r.name()))); err != nil {
			return err
		}
		return r.succeeds(r.finalize(c, o, NewCSR(r.t, NewKey(r.t), name)))
	}},
}

// proofs says why challenges cannot be tested.
func proofs(s *rfcSuite) string {
	if s.Trusted {
		return "the server trusts its accounts: there is nothing to prove"
	}
	return ""
}

// csr makes a CSR with a new key.
func (r *rfcRun) csr(template *x509.CertificateRequest) []byte {
	der, err := x509.CreateCertificateRequest(rand.Reader, template, NewKey(r.t))
	r.setUp("make a CSR", err)
	return der
}

// rawCSR returns what a CSR is sent as.
func rawCSR(csr []byte) string { return base64.RawURLEncoding.EncodeToString(csr) }

// isLeaf reports whether a certificate is no authority's.
func isLeaf(c *x509.Certificate) bool { return !c.IsCA && c.KeyUsage&x509.KeyUsageCertSign == 0 }

// csrRefused finalizes with a CSR that does not fit.
func csrRefused(change func(*rfcRun, *x509.CertificateRequest)) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c, name := r.account(), r.name()
		template := &x509.CertificateRequest{DNSNames: []string{name}}
		change(r, template)
		return r.refused(r.finalize(c, r.ready(c, name), r.csr(template)), acme.BadCSR)
	}
}

// csrTextRefused finalizes with a good CSR in a form that is wrong; nil leaves it out.
func csrTextRefused(encode func(der []byte) any, types ...acme.ProblemType) func(*rfcRun) error {
	if len(types) == 0 {
		types = []acme.ProblemType{acme.BadCSR, acme.Malformed}
	}
	return func(r *rfcRun) error {
		c, name := r.account(), r.name()
		payload := obj{}
		merge(payload, obj{"csr": encode(NewCSR(r.t, NewKey(r.t), name))})
		return r.refused(r.post(c, r.ready(c, name).Finalize, payload), types...)
	}
}

// finalizeAtOnce finalizes an order with several CSRs at the same time.
func finalizeAtOnce(r *rfcRun) error {
	c, name := r.account(), r.name()
	o := r.ready(c, name)
	var wg sync.WaitGroup
	urls := make([]string, 5)
	for i := range urls {
		csr := NewCSR(r.t, NewKey(r.t), name)
		wg.Go(func() {
			payload := map[string]string{"csr": rawCSR(csr)}
			resp, err := c.Post(context.WithoutCancel(r.ctx), o.Finalize, payload)
			if err == nil && resp.Status == http.StatusOK {
				urls[i], _ = member(resp, "certificate").(string)
			}
		})
	}
	wg.Wait()
	settled := r.settleOrder(c, o.URL)
	resp := r.read(c, o.URL)
	for _, u := range urls {
		if u != "" && u != settled.Certificate {
			return r.unlike(resp, "one certificate; found %q and the order's %q", u, settled.Certificate)
		}
	}
	return r.expect(settled.Status == acme.OrderValid, resp, "a valid order")
}

// rfcCertificates: certificates are downloaded (RFC 8555 §7.4.2).
var rfcCertificates = []rfcCheck{
	{says: "a certificate is application/pem-certificate-chain", check: func(r *rfcRun) error {
		_, resp := r.download()
		return r.expect(mediaType(resp) == "application/pem-certificate-chain", resp, "Content-Type: application/pem-certificate-chain")
	}},
	{says: "a chain has nothing in it but certificates", check: func(r *rfcRun) error {
		_, resp := r.download()
		rest := resp.Body
		for len(rest) > 0 {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
				return r.unlike(resp, "blocks CERTIFICATE without headers, and nothing else (RFC 8555 §9.1)")
			}
		}
		return r.expect(len(resp.Body) > 0, resp, "at least one certificate")
	}},
	{says: "a chain begins with the certificate, and each certifies the one before it", check: func(r *rfcRun) error {
		issued, resp := r.download()
		chain := r.chain(resp)
		ok := chain[0].Equal(issued.cert)
		for i := 1; i < len(chain); i++ {
			ok = ok && chain[i-1].CheckSignatureFrom(chain[i]) == nil
		}
		return r.expect(ok, resp, "the certificate, then issuers in order")
	}},
	{says: "a certificate has the key of its CSR", check: func(r *rfcRun) error {
		issued, resp := r.download()
		a, errA := x509.MarshalPKIXPublicKey(issued.cert.PublicKey)
		b, errB := x509.MarshalPKIXPublicKey(issued.key.Public())
		return r.expect(errA == nil && errB == nil && bytes.Equal(a, b), resp, "the key that was sent")
	}},
	{says: "a certificate has the names of its order, and no others", check: func(r *rfcRun) error {
		issued, resp := r.download()
		c := issued.cert
		ok := len(c.DNSNames) == 1 && c.DNSNames[0] == issued.order.Identifiers[0].Value &&
			len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs) == 0
		return r.expect(ok, resp, "the name %v", issued.order.Identifiers)
	}},
	{says: "a certificate is no CA's", check: func(r *rfcRun) error {
		issued, resp := r.download()
		return r.expect(isLeaf(issued.cert), resp, "basic constraints and key usage of an end entity")
	}},
	{says: "a certificate is shown to nobody else", check: func(r *rfcRun) error {
		issued := r.issue(r.account(), r.name())
		return r.withheld(r.read(r.account(), issued.order.Certificate), "BEGIN CERTIFICATE")
	}},
	{says: "a certificate that there is not is 404", check: func(r *rfcRun) error {
		c := r.account()
		return r.refusedWith(r.read(c, otherURL(r.issue(c, r.name()).order.Certificate)), http.StatusNotFound)
	}},
	{says: "alternate chains that are linked are there, with the same certificate", check: func(r *rfcRun) error {
		c := r.account()
		issued := r.issue(c, r.name())
		target, ok := hasLink(r.read(c, issued.order.Certificate), "alternate")
		if !ok {
			return r.notExercised("the certificate has one chain, which is enough")
		}
		resp := r.read(c, target)
		return r.expect(resp.Status == http.StatusOK && r.chain(resp)[0].Equal(issued.cert), resp, "another chain of the certificate")
	}},
}

// download issues a certificate and downloads it.
func (r *rfcRun) download() (rfcIssued, *Response) {
	c := r.account()
	issued := r.issue(c, r.name())
	return issued, r.read(c, issued.order.Certificate)
}

// chain parses a chain in PEM.
func (r *rfcRun) chain(resp *Response) []*x509.Certificate {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(resp.Body); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		r.setUp("parse the chain", err)
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		r.setUp("download a chain", r.unlike(resp, "at least one certificate"))
	}
	return chain
}
