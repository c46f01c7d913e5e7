package pebble

import "maps"

// known explains where Pebble 2.10.1 differs, by the sentence of the check.
var known = func() map[string]string {
	all := map[string]string{}
	for explanation, sentences := range differences {
		for _, says := range sentences {
			all[says] = explanation
		}
	}
	maps.Copy(all, oneByOne)
	return all
}()

// differences have one explanation for several checks.
var differences = map[string][]string{
	"a wrong url is malformed, where RFC 8555 §6.4 says unauthorized": {
		"the url of another resource is unauthorized",
		"the url of another account is unauthorized",
		"the url of another host is unauthorized",
		"a url with another scheme is unauthorized",
		"a url with another query is unauthorized",
		"a url with a slash more is unauthorized",
		"a url without scheme and host is unauthorized",
	},
	"a deactivated account is refused with 403, where RFC 8555 §7.3.6 says 401": {
		"a deactivated account is not read",
		"a deactivated account makes no order",
		"a deactivated account reads no order",
		"a deactivated account reads no authorization",
		"a deactivated account finalizes nothing",
		"a deactivated account changes no key",
		"a deactivated account does not become valid again",
	},
	"404 comes without a problem document, which RFC 8555 §6.7 says an error SHOULD have": {
		"a path that there is not is a problem of 404",
		"an order that there is not is a problem of 404",
		"an authorization that there is not is 404",
		"a certificate that there is not is 404",
		"the path of the request counts as it was sent, not as it is understood",
	},
	"every account URL is that of whoever signed: nothing of another account is shown or changed, and nothing refused": {
		"an account is shown to nobody else",
		"an account is changed by nobody else",
	},
	"a CSR for other names is unauthorized, where RFC 8555 §7.4 has badCSR": {
		"a CSR for another name is badCSR",
		"a CSR with a name more is badCSR",
		"a CSR with a name less is badCSR",
		"a CSR without names is badCSR",
		"a CSR with the wildcard of its name is badCSR",
		"a CSR with an address as a name is badCSR",
		"a CSR with an address more is badCSR",
	},
	"of a CSR the DNS names and addresses are read, and nothing else of what it names": {
		"a CSR with another common name is badCSR",
		"a CSR with a mail address beside its name is badCSR",
		"a CSR with a URI beside its name is badCSR",
		"a name may stand in the common name alone",
	},
	"of names the alphabet and the length are checked, and not the labels": {
		"a name with an empty label is refused",
		"a name that begins with a dot is refused",
		"a label that begins with a hyphen is refused",
		"a label that ends with a hyphen is refused",
		"a label of 64 octets is refused",
	},
	"notBefore and notAfter are not parsed in newOrder": {
		"a notBefore that is no time of RFC 3339 is refused",
		"a notAfter that is no time of RFC 3339 is refused",
		"a notAfter in the past is refused",
		"a notAfter before the notBefore is refused",
	},
	"the size of RSA keys is not checked": {
		"an RSA key of 1024 bits is badPublicKey",
		"an RSA key of 1024 bits is refused as a new one",
		"a CSR with an RSA key of 1024 bits is badCSR",
	},
	"a key that an account has is answered with 200 and an empty body, and not changed: the error is not recognised": {
		"the key of another account is 409 with its URL",
		"a conflict of keys is a problem document",
	},
	"the nonce of an inner JWS is not looked at, where RFC 8555 §7.3.5 says it MUST be omitted": {
		"an inner JWS with a nonce is refused",
		"a key change that was refused changes nothing",
	},
	"caaIdentities are shown, and CAA records not looked at": {
		"a domain whose CAA names another authority is not issued for, which is a problem of type caa (RFC 8555 §6.7)",
		"a domain whose CAA names nobody is not issued for (§4.2)",
		"a domain whose CAA is malformed is not issued for (§4.2)",
		"a critical property that is not known forbids issuance (§4.1)",
		"a wildcard is not issued for where issuewild forbids (§4.3)",
		"the records of the closest domain above count (§3)",
		"a domain whose CAA cannot be looked up is not issued for (§3)",
		"accounturi forbids every other account (§3)",
		"validationmethods forbids every other challenge type (§4)",
	},
	"a replaces that cannot be is answered with 500": {
		"a certificate of other names is not replaced",
		"an order that was refused replaces nothing",
		"a certificate that there is not is not replaced",
	},
}

// oneByOne are differences of their own.
var oneByOne = map[string]string{
	"EdDSA with Ed25519 is served":                                        "RS256, ES256, ES384 and ES512 are; RFC 8555 §6.2 says SHOULD of EdDSA",
	"badSignatureAlgorithm lists the algorithms that are served":          "the list stands in the detail alone",
	"a payload that is not encoded (b64) is refused":                      "its JOSE library understands b64, and nobody looks for it",
	"several bad identifiers have a subproblem each (§6.7.1)":             "the first bad identifier ends the request; subproblems are a MAY",
	"nobody may keep the answer of newNonce":                              "Cache-Control is max-age=0, no-cache",
	"a mailto with header fields is invalidContact":                       "header fields are not looked for",
	"a refusal for the terms says where a user goes (§7.3.3)":             "there is no instance",
	"a deactivated account revokes nothing":                               "the certificate is looked for before the account",
	"an identifier of a type that is not served is unsupportedIdentifier": "it is malformed",
	"a notAfter that cannot be granted is refused":                        "there is none: whatever is asked for is granted",
	"a challenge of a deactivated authorization is not begun":             "the request is never answered: reading the authorization locks the challenge, and never unlocks it",
	"a response of the days before RFC 8555 (keyAuthorization) is taken":  "a response must be the empty object, by policy",
	"white space behind the key authorization is ignored":                 "it is compared as it is; RFC 8555 §8.3 says SHOULD",
	"tls-alpn-01 is not met by something behind the digest":               "what follows the digest in the extension is not looked at",
	"a certificate is revoked by an account that may have its names":      "only the account that it was issued to may revoke it",
	"an ID with a line break in it names no certificate":                  "what decodes base64url skips line breaks, and the text is not looked at",
	"a client cannot revoke its account":                                  "an update with a status that is none is malformed, where RFC 8555 §7.3.2 has it ignored",
	"a binding with an unprotected header is refused":                     "the unprotected header of a binding is not looked at",
	"a payload of newAccount that is no object is malformed":              "null is taken for an empty object, which then does not agree to the terms",
	"a certificate that is being replaced is alreadyReplaced, 409 (§7.4)": "it counts as replaced when the next one is issued, not when it is ordered",
}
