package config

import (
	"strings"
	"testing"
)

func TestAWrongValueIsNamedWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		line, want string
	}{
		"an address without a port":         {"listen: {acme: localhost}", `listen.acme: "localhost" has no host and port: write host:port`},
		"an address with a wild port":       {"listen: {ops: ':99999'}", `listen.ops: ":99999" has no port from 0 to 65535`},
		"two listeners on one address":      {"listen: {ops: ':8080'}", `listen.ops: ":8080" is the address of listen.http already`},
		"CRLs over TLS":                     {"distributionURL: https://ca.example", `distributionURL: "https://ca.example" is not an http URL: write http://host or http://host:port`},
		"a schema that needs quotes":        {"database: {urlFile: f, schema: My-Schema}", `database.schema: "My-Schema" cannot name a schema`},
		"a schema of Postgres's own":        {"database: {urlFile: f, schema: pg_temp}", `database.schema: "pg_temp"`},
		"no file with the database's URL":   {"database: {}", "database.urlFile: is missing"},
		"a pool of a million":               {"database: {urlFile: f, maxConnections: 1000000}", "database.maxConnections: 1000000 is out of range: write 2 to 1000"},
		"a mode that is not known":          {"validation: {mode: trusted}", `validation.mode: "trusted" is not known: write one of Challenge, Trusted`},
		"a challenge that is not known":     {"validation: {challenges: [http-01, http01]}", `validation.challenges[1]: "http01" is not known: write one of http-01, dns-01, tls-alpn-01, dns-account-01, dns-persist-01`},
		"a challenge given twice":           {"validation: {challenges: [http-01, http-01]}", `validation.challenges[1]: "http-01" is in the list already, at [0]`},
		"a resolver that is a URL":          {"validation: {resolvers: ['https://1.1.1.1']}", `validation.resolvers[0]: "https://1.1.1.1"`},
		"a network without a length":        {"validation: {networks: {allow: [10.0.0.0]}}", `validation.networks.allow[0]: "10.0.0.0" is not a network`},
		"a network with host bits":          {"validation: {networks: {deny: [10.1.2.3/8]}}", `validation.networks.deny[0]: "10.1.2.3/8" has bits set behind its prefix: write 10.0.0.0/8, or 10.1.2.3/32 for the one address`},
		"a port that is none":               {"validation: {http01Port: 70000}", "validation.http01Port: 70000 is out of range"},
		"a profile without a name":          {"profiles: [{lifetime: 24h}]", `profiles[0].name: "" cannot name a profile`},
		"two profiles of one name":          {"profiles: [{name: a, lifetime: 24h}, {name: a, lifetime: 24h}]", `profiles[1].name: "a" is in the list already`},
		"two defaults":                      {"profiles: [{name: a, lifetime: 24h, default: true}, {name: b, lifetime: 24h, default: true}]", "profiles[1].default: profiles[0] is the default already"},
		"a profile without a lifetime":      {"profiles: [{name: a}]", "profiles[0].lifetime: 0s is out of range: write 15m0s"},
		"a lifetime of a century":           {"profiles: [{name: a, lifetime: 876000h}]", "profiles[0].lifetime: 876000h0m0s is out of range"},
		"a usage that is not known":         {"profiles: [{name: a, lifetime: 24h, usages: [codeSigning]}]", `profiles[0].usages[0]: "codeSigning" is not known: write one of serverAuth, clientAuth`},
		"a lint that is not known":          {"  lint: Sometimes", `certificateAuthority.lint: "Sometimes" is not known: write one of Off, Warn, Enforce`},
		"a description that hides a line":   {`profiles: [{name: a, lifetime: 24h, description: "a\u0085b"}]`, `profiles[0].description: "a\u0085b" has a control character, behind "a"`},
		"terms that are not a URL":          {"directory: {termsOfService: terms.txt}", `directory.termsOfService: "terms.txt" is not a URL`},
		"a CAA identity that is a URL":      {"directory: {caaIdentities: ['https://ca.example']}", `directory.caaIdentities[0]: "https://ca.example" is not a domain name`},
		"dns-persist-01 without a name":     {"validation: {challenges: [dns-persist-01]}", "directory.caaIdentities: has 0 names: with the challenge dns-persist-01 write 1 to 10"},
		"an order of a year":                {"lifetimes: {order: 8760h}", "lifetimes.order: 8760h0m0s is out of range"},
		"a negative delay":                  {"shutdownDelay: -1s", "shutdownDelay: -1s is out of range"},
		"more identifiers than a CSR holds": {"maxIdentifiers: 100000", "maxIdentifiers: 100000 is out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := minimal(t, test.line)
			if strings.HasPrefix(test.line, "database:") {
				data = []byte(strings.Replace(string(data), "database: {urlFile: /etc/acme/database/uri}\n", "", 1))
			}
			_, err := Parse(data)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestABaseURLIsAnOriginAndNothingMore(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://internal.pki.svc":       "",
		"https://internal.pki.svc:8443":  "",
		"https://127.0.0.1:14000":        "",
		"https://[::1]:14000":            "",
		"https://[fd00::1]":              "",
		"http://internal.pki.svc":        "not an https URL",
		"internal.pki.svc":               "not an https URL",
		"https://internal.pki.svc/":      "more than a scheme, a host and a port",
		"https://internal.pki.svc/acme":  "more than a scheme, a host and a port",
		"https://internal.pki.svc?":      "more than a scheme, a host and a port",
		"https://internal.pki.svc#":      "more than a scheme, a host and a port",
		"https://me@internal.pki.svc":    "more than a scheme, a host and a port",
		"https://Internal.pki.svc":       "no host that is a domain name in lower case",
		"https://*.pki.svc":              "no host that is a domain name in lower case",
		"https://internal.pki.svc.":      "no host that is a domain name in lower case",
		"https://":                       "no host",
		"https://:8443":                  "no host",
		"https://internal.pki.svc:":      "not in its usual form",
		"https://internal.pki.svc:0":     "the port 0",
		"https://internal.pki.svc:99999": "no port from 0 to 65535",
		"HTTPS://internal.pki.svc":       "not in its usual form",
		"https://[fd00:0::1]":            "no host that is",
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			got := checkOrigin(url, "https")
			if (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
