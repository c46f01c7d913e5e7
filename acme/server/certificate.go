package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"strconv"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// certificate downloads a certificate with one of its chains; the other chains
// are linked (RFC 8555 §7.4.2). One round trip.
func (s *Server) certificate(r *request) (*response, error) {
	id, err := r.id()
	if err != nil {
		return nil, err
	}
	n := 0
	if text := r.path("chain"); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 1 || strconv.Itoa(n) != text {
			return nil, notFound("no such chain")
		}
	}
	cert, err := s.config.Store.Certificate(r.ctx, r.proof, id)
	if err != nil {
		return nil, err
	}
	issuer, err := s.issuerOf(r.ctx, cert.IssuerID)
	if err != nil {
		return nil, err
	}
	if n >= len(issuer.chains) {
		return nil, notFound("no such chain")
	}
	resp := &response{body: encodeChain(cert.DER, issuer.chains[n]), contentType: "application/pem-certificate-chain"}
	for i := range issuer.chains {
		switch i {
		case n:
		case 0:
			resp.links = append(resp.links, link(r.base.certificate(id), "alternate"))
		default:
			resp.links = append(resp.links, link(r.base.alternate(id, i), "alternate"))
		}
	}
	return resp, nil
}

// servedIssuer is an issuer as clients are given it.
type servedIssuer struct {
	certificate []byte // in DER
	chains      [][][]byte
}

// issuerOf returns an issuer; it is read once. Of one whose certificate is renewed
// meanwhile the older chain is served until this replica is replaced, too.
func (s *Server) issuerOf(ctx context.Context, id acme.IssuerID) (*servedIssuer, error) {
	kept, _ := s.issuers.Load(id)
	if issuer, ok := kept.(*servedIssuer); ok {
		return issuer, nil
	}
	stored, err := s.config.Store.Issuer(ctx, id)
	if err != nil {
		return nil, err
	}
	issuer := &servedIssuer{certificate: stored.Chains[0][0]}
	for _, chain := range stored.Chains {
		if isRoot(chain[0]) { // which clients have, or have no use for (RFC 8555 §9.1)
			chain = nil
		}
		issuer.chains = append(issuer.chains, chain)
	}
	s.issuers.Store(id, issuer)
	return issuer, nil
}

// isRoot reports whether a certificate in DER is signed by itself.
func isRoot(der []byte) bool {
	c, err := x509.ParseCertificate(der)
	return err == nil && c.CheckSignatureFrom(c) == nil
}

// issuer gives an issuing certificate in DER to whoever follows the AIA of a
// certificate (RFC 5280 §4.2.2.1).
func (s *Server) issuer(r *request) (*response, error) {
	id, err := issuerID(r.path("issuer"))
	if err != nil {
		return nil, err
	}
	issuer, err := s.issuerOf(r.ctx, id)
	if err != nil {
		return nil, err
	}
	return &response{
		status: http.StatusOK, body: issuer.certificate, contentType: "application/pkix-cert", // RFC 2585 §4
		cacheable: "public, max-age=86400",
	}, nil
}

// issuerID reads an issuer's name in a path.
func issuerID(text string) (acme.IssuerID, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(acme.IssuerID{}) {
		return acme.IssuerID{}, notFound("no such issuer")
	}
	return acme.IssuerID(raw), nil
}

// encodeChain returns a certificate and its chain as application/pem-certificate-chain.
func encodeChain(leaf []byte, chain [][]byte) []byte {
	var b bytes.Buffer
	for _, der := range append([][]byte{leaf}, chain...) {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a Buffer takes all
	}
	return b.Bytes()
}
