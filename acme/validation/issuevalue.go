package validation

import (
	"fmt"
	"strings"
)

// issueValue is the value of a CAA record's issue property (RFC 8659 §4.2), and
// of a record of dns-persist-01, which has the same grammar.
type issueValue struct {
	// issuer is the issuer's domain name, in lower case; "" means nobody.
	issuer string
	// parameters has the values of each tag, in lower case, in their order.
	parameters map[string][]string
}

// blanks are what may stand between the parts of an issue value (WSP of RFC 5234).
const blanks = " \t"

// parseIssueValue reads a value. Of one that is malformed the issuer is returned,
// as far as it could be read, with what is wrong.
func parseIssueValue(text string) (issueValue, error) {
	issuer, rest, _ := strings.Cut(text, ";")
	v := issueValue{
		issuer:     strings.ToLower(strings.Trim(issuer, blanks)),
		parameters: map[string][]string{},
	}
	rest = strings.Trim(rest, blanks)
	if rest == "" {
		return v, nil
	}
	for parameter := range strings.SplitSeq(rest, ";") {
		tag, value, ok := strings.Cut(parameter, "=")
		tag, value = strings.ToLower(strings.Trim(tag, blanks)), strings.Trim(value, blanks)
		if !ok || !isTag(tag) || !isParameterValue(value) {
			return v, fmt.Errorf("the parameter %s is not tag=value", strings.Trim(parameter, blanks))
		}
		v.parameters[tag] = append(v.parameters[tag], value)
	}
	return v, nil
}

// isTag reports whether a text in lower case may name a parameter.
func isTag(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// isParameterValue reports whether a text may be a parameter's value: printable
// ASCII without spaces and semicolons.
func isParameterValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r == ';' || r > 0x7e })
}
