package acmetest

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// rfcRevocation: certificates are revoked (RFC 8555 §7.6).
var rfcRevocation = []rfcCheck{
	{says: "a certificate is revoked by its account", check: func(r *rfcRun) error {
		c := r.account()
		return r.succeeds(r.revoke(c, r.issue(c, r.name()).cert.Raw, nil))
	}},
	{says: "a certificate is revoked by its key", check: func(r *rfcRun) error {
		issued := r.issue(r.account(), r.name())
		return r.succeeds(r.revoke(r.keyOnly(issued.key), issued.cert.Raw, nil))
	}},
	{says: "a certificate is revoked by an account that may have its names", needs: proofs, check: func(r *rfcRun) error {
		name, other := r.name(), r.account()
		issued := r.issue(r.account(), name)
		r.ready(other, name)
		return r.succeeds(r.revoke(other, issued.cert.Raw, nil))
	}},
	{says: "a certificate is not revoked by an account that may have none of its names", check: func(r *rfcRun) error {
		return r.refused(r.revoke(r.account(), r.issue(r.account(), r.name()).cert.Raw, nil), acme.Unauthorized)
	}},
	{says: "a certificate is not revoked by an account that may have one of its two names", check: func(r *rfcRun) error {
		a, b, other := r.name(), r.name(), r.account()
		issued := r.issue(r.account(), a, b)
		r.ready(other, a)
		return r.refused(r.revoke(other, issued.cert.Raw, nil), acme.Unauthorized)
	}},
	{says: "a certificate is not revoked by an account that has asked for its name", needs: proofs, check: func(r *rfcRun) error {
		name, other := r.name(), r.account()
		issued := r.issue(r.account(), name)
		r.order(other, name)
		return r.refused(r.revoke(other, issued.cert.Raw, nil), acme.Unauthorized)
	}},
	{says: "a certificate is not revoked by another key", check: func(r *rfcRun) error {
		return r.refused(r.revoke(r.client(), r.issue(r.account(), r.name()).cert.Raw, nil), acme.Unauthorized)
	}},
	{says: "a certificate is not revoked by the key of its account without the account", check: func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.revoke(r.keyOnly(c.Key), r.issue(c, r.name()).cert.Raw, nil), acme.Unauthorized)
	}},
	{says: "a certificate is not revoked by the key of a forgery with its number", check: func(r *rfcRun) error {
		issued := r.issue(r.account(), r.name())
		attacker := NewKey(r.t)
		issuer := &x509.Certificate{RawSubject: issued.cert.RawIssuer, SubjectKeyId: issued.cert.AuthorityKeyId}
		forged, err := x509.CreateCertificate(rand.Reader, issued.cert, issuer, attacker.Public(), attacker)
		r.setUp("forge", err)
		if err := r.refused(r.revoke(r.keyOnly(attacker), forged, nil)); err != nil {
			return err
		}
		return r.succeeds(r.revoke(r.keyOnly(issued.key), issued.cert.Raw, nil)) // which it was not before
	}},
	{says: "a certificate that was revoked is alreadyRevoked", check: func(r *rfcRun) error {
		c := r.account()
		cert := r.issue(c, r.name()).cert
		r.setUp("revoke", r.revoke(c, cert.Raw, nil).Err())
		return r.refused(r.revoke(c, cert.Raw, nil), acme.AlreadyRevoked)
	}},
	{says: "a reason may be given", check: func(r *rfcRun) error {
		c := r.account()
		return r.succeeds(r.revoke(c, r.issue(c, r.name()).cert.Raw, 1))
	}},
	{says: "reason 0 may be given", check: func(r *rfcRun) error {
		c := r.account()
		return r.succeeds(r.revoke(c, r.issue(c, r.name()).cert.Raw, 0))
	}},
	{says: "reason 7, which there is not, is badRevocationReason", check: reasonRefused(7, acme.BadRevocationReason)},
	{says: "reason 11, which there is not, is badRevocationReason", check: reasonRefused(11, acme.BadRevocationReason)},
	{says: "a negative reason is refused", check: reasonRefused(-1)},
	{says: "a reason that is no number is refused", check: reasonRefused("keyCompromise")},
	{says: "a reason that is no whole number is refused", check: reasonRefused(1.5)},
	{says: "a revocation that was refused revokes nothing", check: func(r *rfcRun) error {
		c := r.account()
		cert := r.issue(c, r.name()).cert
		if err := r.refused(r.revoke(c, cert.Raw, 7)); err != nil {
			return err
		}
		return r.succeeds(r.revoke(c, cert.Raw, nil))
	}},
	{says: "a certificate of another authority is refused", check: func(r *rfcRun) error {
		foreign, err := ChallengeCertificate(acme.Identifier{Type: acme.DNS, Value: r.name()}, "x")
		r.setUp("make a certificate", err)
		return r.refused(r.revoke(r.account(), foreign.Certificate[0], nil))
	}},
	{says: "a revocation of no certificate is refused", check: revocationRefused(obj{}, acme.Malformed)},
	{says: "a revocation of what is no certificate is refused", check: revocationRefused(obj{"certificate": "AAAA"})},
	{says: "a revocation without a payload is refused", check: revocationRefused(nil, acme.Malformed)},
	{says: "a certificate in PEM is refused", check: func(r *rfcRun) error {
		c := r.account()
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.issue(c, r.name()).cert.Raw})
		return r.refused(r.post(c, c.Directory.RevokeCert, obj{"certificate": string(text)}), acme.Malformed)
	}},
	{says: "a certificate in base64 with padding is refused", check: func(r *rfcRun) error {
		c := r.account()
		text := base64.URLEncoding.EncodeToString(append(r.issue(c, r.name()).cert.Raw, 0))
		return r.refused(r.post(c, c.Directory.RevokeCert, obj{"certificate": text + "=="}), acme.Malformed)
	}},
}

// revoke asks for the revocation of a certificate in DER, with a reason unless nil.
func (r *rfcRun) revoke(c *Client, der []byte, reason any) *Response {
	payload := obj{"certificate": base64.RawURLEncoding.EncodeToString(der)}
	merge(payload, obj{"reason": reason})
	return r.post(c, c.Directory.RevokeCert, payload)
}

// keyOnly returns a client that signs with a key, and has no account.
func (r *rfcRun) keyOnly(key crypto.Signer) *Client {
	return &Client{HTTP: r.HTTP, Directory: r.directory, Key: key}
}

// reasonRefused revokes for a reason that a client may not give.
func reasonRefused(reason any, types ...acme.ProblemType) func(*rfcRun) error {
	return func(r *rfcRun) error {
		c := r.account()
		return r.refused(r.revoke(c, r.issue(c, r.name()).cert.Raw, reason), types...)
	}
}

// revocationRefused sends a payload that names no certificate.
func revocationRefused(payload any, types ...acme.ProblemType) func(*rfcRun) error {
	return func(r *rfcRun) error {
		return r.refusedWith(r.post(r.account(), r.directory.RevokeCert, payload), http.StatusBadRequest, types...)
	}
}
