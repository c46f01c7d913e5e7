package issuance

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// checkNames checks that the request names the identifiers of the order, as a
// set: neither case, nor order, nor repetition matters (RFC 8555 §7.4).
func (a *Authority) checkNames(request *x509.CertificateRequest, identifiers []acme.Identifier) *acme.Problem {
	alternatives, problem := alternativeNames(request, a.maxNames)
	if problem != nil {
		return problem
	}
	named := slices.Concat(alternatives, commonNames(request))
	if len(named) == 0 {
		return acme.Problemf(acme.BadCSR, "the request has no names: write them as subject alternative names")
	}
	var wrong []*acme.Problem
	fault := func(id acme.Identifier, detail string) {
		p := acme.Problemf(acme.BadCSR, `"%s" %s`, acme.Excerpt(id.Value), detail)
		p.Identifier = &acme.Identifier{Type: id.Type, Value: acme.Excerpt(id.Value)}
		wrong = append(wrong, p)
	}
	normal := make([]acme.Identifier, 0, len(named))
	for _, n := range named {
		id, err := acme.ParseIdentifier(string(n.Type), n.Value)
		if err != nil {
			fault(n, "is no identifier: "+detailOf(err))
			continue
		}
		normal = append(normal, id)
	}
	normal = acme.SortIdentifiers(normal)
	for _, id := range normal {
		if !slices.Contains(identifiers, id) {
			fault(id, "is named by the request and not by the order")
		}
	}
	for _, id := range identifiers {
		if !slices.Contains(normal, id) {
			fault(id, "is named by the order and not by the request")
		}
	}
	return combine(wrong)
}

// combine returns nil, the one problem, or one that has them all. Only a
// subproblem may carry an identifier (RFC 8555 §6.7.1).
func combine(wrong []*acme.Problem) *acme.Problem {
	switch len(wrong) {
	case 0:
		return nil
	case 1:
		return acme.Problemf(acme.BadCSR, "%s", wrong[0].Detail)
	}
	p := acme.Problemf(acme.BadCSR, "the names of the request are not those of the order: %d differ", len(wrong))
	p.Subproblems = wrong
	return p
}

// detailOf returns what a client may read of an error of [acme.ParseIdentifier].
func detailOf(err error) string {
	if p := (*acme.Problem)(nil); errors.As(err, &p) {
		return p.Detail
	}
	return "it cannot be read"
}

// commonNames returns the common names of the subject. RFC 8555 §7.4 has them
// count as names: a request of old software has no other place for its one.
func commonNames(request *x509.CertificateRequest) []acme.Identifier {
	var names []acme.Identifier
	for _, attribute := range request.Subject.Names {
		value, ok := attribute.Value.(string)
		if !attribute.Type.Equal(oidCommonName) || !ok || value == "" {
			continue
		}
		typ := acme.DNS
		if _, err := netip.ParseAddr(value); err == nil {
			typ = acme.IP
		}
		names = append(names, acme.Identifier{Type: typ, Value: value})
	}
	return names
}

// The tags of GeneralName that identifiers have (RFC 5280 §4.2.1.6).
var (
	tagDNSName   = cbasn1.Tag(2).ContextSpecific()
	tagIPAddress = cbasn1.Tag(7).ContextSpecific()
)

// alternativeNames returns the subject alternative names as they stand in the
// request. Those of other kinds than ACME knows are refused; the standard library
// would pass over some of them without a word.
func alternativeNames(request *x509.CertificateRequest, limit int) ([]acme.Identifier, *acme.Problem) {
	i := slices.IndexFunc(request.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSubjectAltName) })
	if i < 0 {
		return nil, nil
	}
	var names []acme.Identifier
	input, list := cryptobyte.String(request.Extensions[i].Value), cryptobyte.String(nil)
	if !input.ReadASN1(&list, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, acme.Problemf(acme.BadCSR, "the subject alternative names of the request cannot be read")
	}
	for !list.Empty() {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !list.ReadAnyASN1(&value, &tag) {
			return nil, acme.Problemf(acme.BadCSR, "the subject alternative names of the request cannot be read")
		}
		if len(names) == limit {
			return nil, acme.Problemf(acme.BadCSR, "the request has more than %d subject alternative names", limit)
		}
		addr, isAddr := netip.AddrFromSlice(value)
		switch {
		case tag == tagDNSName:
			names = append(names, acme.Identifier{Type: acme.DNS, Value: string(value)})
		case tag == tagIPAddress && isAddr:
			names = append(names, acme.Identifier{Type: acme.IP, Value: addr.String()})
		case tag == tagIPAddress:
			return nil, acme.Problemf(acme.BadCSR, "the request has an IP address of %d octets; 4 or 16 are right", len(value))
		default:
			return nil, acme.Problemf(acme.BadCSR, "the request has a subject alternative name of type %s; dNSName and iPAddress are issued", nameType(tag))
		}
	}
	return names, nil
}

// nameType names a choice of GeneralName (RFC 5280 §4.2.1.6).
func nameType(tag cbasn1.Tag) string {
	choices := strings.Fields("otherName rfc822Name dNSName x400Address directoryName ediPartyName uniformResourceIdentifier iPAddress registeredID")
	if number := int(tag & 0x1f); number < len(choices) {
		return choices[number]
	}
	return "unknown"
}
