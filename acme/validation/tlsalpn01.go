package validation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// alpnProtocol is what client and server must agree on (RFC 8737 §6.2).
const alpnProtocol = "acme-tls/1"

// The extensions looked at.
var (
	oidACMEIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31} // RFC 8737 §6.1
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}               // RFC 5280 §4.2.1.6
)

// The tags of a GeneralName (RFC 5280 §4.2.1.6).
const (
	tagDNSName   = 2
	tagIPAddress = 7
)

// tlsALPN01 proves control by a certificate that a TLS server shows (RFC 8737,
// and for addresses RFC 8738 §6).
type tlsALPN01 struct {
	dialer *dialer
	port   int
	// timeout bounds the handshake.
	timeout time.Duration
}

// prove shakes hands and looks at the certificate. Nothing is sent after that
// (RFC 8737 §3).
func (m *tlsALPN01) prove(ctx context.Context, v *acme.Validation) *failure {
	conn, from, f := m.dialer.dial(ctx, v.Identifier, m.port)
	if f != nil {
		return f.during("tls-alpn-01")
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	state, f := handshake(ctx, conn, v.Identifier)
	if f == nil {
		f = judgeCertificate(state.PeerCertificates[0], v)
	}
	if f != nil {
		return f.during("tls-alpn-01 at %s (%s)", v.Identifier, from)
	}
	return nil
}

// handshake agrees on the protocol and returns what the server showed: at least
// one certificate.
func handshake(ctx context.Context, conn net.Conn, id acme.Identifier) (tls.ConnectionState, *failure) {
	client := tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS12, // RFC 8737 §4
		NextProtos: []string{alpnProtocol},
		ServerName: serverName(id),
		// What the certificate must be is for judgeCertificate to say.
		InsecureSkipVerify: true, //nolint:gosec // the certificate is self-signed by design (RFC 8737 §3) and checked by us
	})
	if err := client.HandshakeContext(ctx); err != nil {
		if problem := problemOf(err); problem != acme.TLS {
			return tls.ConnectionState{}, failed(problem, "TLS handshake: %s", cause(err))
		}
		return tls.ConnectionState{}, failed(acme.TLS, "TLS handshake with the protocol %s: %s", alpnProtocol, cause(err))
	}
	state := client.ConnectionState()
	if state.NegotiatedProtocol != alpnProtocol {
		return state, failed(acme.TLS, "the server did not agree on the protocol %s", alpnProtocol)
	}
	return state, nil
}

// serverName returns the name to send (RFC 8737 §3), which for an address is that
// of its reverse mapping (RFC 8738 §6).
func serverName(id acme.Identifier) string {
	addr, err := netip.ParseAddr(id.Value)
	if id.Type != acme.IP || err != nil {
		return id.Value
	}
	var labels []string
	if addr.Is4() {
		for _, octet := range addr.As4() {
			labels = append([]string{strconv.Itoa(int(octet))}, labels...)
		}
		return strings.Join(labels, ".") + ".in-addr.arpa"
	}
	for _, octet := range addr.As16() {
		labels = append([]string{strconv.FormatInt(int64(octet&0xf), 16), strconv.FormatInt(int64(octet>>4), 16)}, labels...)
	}
	return strings.Join(labels, ".") + ".ip6.arpa"
}

// judgeCertificate decides whether a certificate proves control, by RFC 8737 §3.
func judgeCertificate(c *x509.Certificate, v *acme.Validation) *failure {
	wrong := func(format string, args ...any) *failure {
		return refused(acme.IncorrectResponse, "%s; the certificate is %s", fmt.Sprintf(format, args...), described(c))
	}
	if !bytes.Equal(c.RawIssuer, c.RawSubject) || c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
		return wrong("the certificate is not self-signed")
	}
	if !namesOnly(c, v.Identifier) {
		return wrong("the certificate's subjectAltName must have %s and nothing else", v.Identifier)
	}
	digest := sha256.Sum256([]byte(acme.KeyAuthorization(v.Token, v.Thumbprint)))
	want, err := asn1.Marshal(digest[:])
	if err != nil {
		return wrong("the digest of the key authorization: %v", err)
	}
	for _, extension := range c.Extensions {
		switch {
		case !extension.Id.Equal(oidACMEIdentifier):
		case !extension.Critical:
			return wrong("the acmeIdentifier extension is not critical")
		case subtle.ConstantTimeCompare(extension.Value, want) != 1:
			return wrong("the acmeIdentifier extension is %x, want %x, the digest of the key authorization",
				extension.Value[:min(len(extension.Value), len(want))], want)
		default:
			return nil
		}
	}
	return wrong("the certificate has no acmeIdentifier extension")
}

// namesOnly reports whether the subjectAltName has one entry, and that it is id.
// It reads the extension itself, as x509 skips the kinds of name it does not know.
func namesOnly(c *x509.Certificate, id acme.Identifier) bool {
	for _, extension := range c.Extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		rest, err := asn1.Unmarshal(extension.Value, &names)
		if err != nil || len(rest) > 0 || len(names) != 1 || names[0].Class != asn1.ClassContextSpecific {
			return false
		}
		if id.Type == acme.IP {
			addr, ok := netip.AddrFromSlice(names[0].Bytes)
			return ok && names[0].Tag == tagIPAddress && addr.String() == id.Value
		}
		return names[0].Tag == tagDNSName && strings.EqualFold(string(names[0].Bytes), id.Value)
	}
	return false
}

// described tells which certificate was found.
func described(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{c.Subject.CommonName}
	}
	serial := acme.Excerpt(c.SerialNumber.Text(16))
	return fmt.Sprintf(`that of %s, issued by "%s", serial %s`, quoted(names), acme.Excerpt(c.Issuer.CommonName), serial)
}
