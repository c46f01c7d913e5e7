package server

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// NamePolicy says which identifiers may be ordered. The zero value allows all.
//
// A pattern for domain names is a name, or `*.` and a name, which stands for all
// names below it, at any depth. What is denied is denied whatever is allowed; where
// anything is allowed, all else is denied.
type NamePolicy struct {
	AllowDNS, DenyDNS []string
	AllowIP, DenyIP   []netip.Prefix
	// MaxLabels bounds the labels of a name, against clients that order
	// www.www.www.… for whatever they are asked for; 0 is no bound.
	MaxLabels int
	// MaxRepeats bounds how often a label, or several together, may stand in a row,
	// for the same reason; 0 is no bound.
	MaxRepeats int
}

// check returns a rejectedIdentifier problem for an identifier that may not be
// ordered, or nil.
func (p *NamePolicy) check(id acme.Identifier) error {
	check := p.checkDNS
	if id.Type == acme.IP {
		check = p.checkIP
	}
	why := check(id)
	if why == "" {
		return nil
	}
	problem := acme.Problemf(acme.RejectedIdentifier, "identifier %q: %s", id, why)
	problem.Identifier = &id
	return problem
}

// checkName refuses an identifier that may not be ordered: by the policy, or because
// it is the server's own. Where nothing is proved, anybody could stand in for the
// server with a certificate for that.
func (s *Server) checkName(id acme.Identifier) error {
	own := func(b base) bool { return standsFor(id, b.name) }
	if !s.config.Trusted || !slices.ContainsFunc(s.bases, own) {
		return s.config.Names.check(id)
	}
	p := acme.Problemf(acme.RejectedIdentifier, "identifier %q: this ACME server is reached by it, and control of it would not be proved here", id)
	p.Identifier = &id
	return p
}

// checkNames checks the identifiers of an order again before its certificate is
// signed: the policy may have been tightened since it was made.
func (s *Server) checkNames(identifiers []acme.Identifier) error {
	var faults []*acme.Problem
	for _, id := range identifiers {
		if fault, ok := errors.AsType[*acme.Problem](s.checkName(id)); ok {
			faults = append(faults, fault)
		}
	}
	return together(faults, len(identifiers))
}

// checkDNS returns why a name may not be ordered, or "".
func (p *NamePolicy) checkDNS(id acme.Identifier) string {
	if labels := strings.Count(id.Value, ".") + 1; p.MaxLabels > 0 && labels > p.MaxLabels {
		return fmt.Sprintf("it has %d labels; this server's policy allows %d", labels, p.MaxLabels)
	}
	if repeated := repeats(id.Value, p.MaxRepeats); repeated != "" {
		return fmt.Sprintf("it has %q more often than %d times in a row, which this server's policy does not allow", repeated, p.MaxRepeats)
	}
	for _, pattern := range p.DenyDNS {
		if covers(pattern, id.Value) || standsFor(id, pattern) {
			return fmt.Sprintf("this server's policy denies %q", pattern)
		}
	}
	for _, pattern := range p.AllowDNS {
		if covers(pattern, id.Value) {
			return ""
		}
	}
	if len(p.AllowDNS) == 0 && len(p.AllowIP) == 0 {
		return ""
	}
	return "this server's policy allows only " + quoted(p.AllowDNS)
}

// repeats returns the labels that stand in a row in a name more often than most
// times, or "" where none do; 0 is no bound.
func repeats(name string, most int) string {
	labels := strings.Split(name, ".")
	for width := 1; most > 0 && width*(most+1) <= len(labels); width++ {
		same := 0 // how many labels in a row are that which stands width before
		for i := width; i < len(labels); i++ {
			if labels[i] != labels[i-width] {
				same = 0
				continue
			}
			if same++; same == width*most {
				return strings.Join(labels[i-width+1:i+1], ".")
			}
		}
	}
	return ""
}

// checkIP returns why an address may not be ordered, or "".
func (p *NamePolicy) checkIP(id acme.Identifier) string {
	addr, err := netip.ParseAddr(id.Value)
	if err != nil {
		return "not an address"
	}
	for _, prefix := range p.DenyIP {
		if prefix.Contains(addr) {
			return fmt.Sprintf("this server's policy denies %s", prefix)
		}
	}
	for _, prefix := range p.AllowIP {
		if prefix.Contains(addr) {
			return ""
		}
	}
	if len(p.AllowDNS) == 0 && len(p.AllowIP) == 0 {
		return ""
	}
	return "this server's policy does not allow this address"
}

// covers reports whether every name that name stands for is one of the pattern's.
func covers(pattern, name string) bool {
	below, ok := strings.CutPrefix(pattern, "*")
	if !ok {
		return pattern == name
	}
	return strings.HasSuffix(strings.TrimPrefix(name, "*"), below) && name != below[1:]
}

// standsFor reports whether a certificate for an identifier is good for a name: that
// of a wildcard is for names of one label more (RFC 6125 §6.4.3).
func standsFor(id acme.Identifier, name string) bool {
	_, parent, _ := strings.Cut(name, ".")
	return id.Value == name || id == acme.Identifier{Type: acme.DNS, Value: parent}.Wildcard()
}

// quoted lists patterns for a problem.
func quoted(patterns []string) string {
	const most = 10
	if len(patterns) == 0 {
		return "addresses"
	}
	more := ""
	if len(patterns) > most {
		patterns, more = patterns[:most], ", …"
	}
	return `"` + strings.Join(patterns, `", "`) + `"` + more
}
