package issuance

import (
	"crypto"
	"strings"
	"testing"
)

func TestKeysAndCertificatesAreReadBackFromPEM(t *testing.T) {
	t.Parallel()
	ca := newCA(t, Ed25519, testClock)
	certificates, err := ParseCertificates(append([]byte("subject=...\n"), EncodeCertificates(ca.intermediate, ca.root)...))
	if err != nil || len(certificates) != 2 || !certificates[0].Equal(ca.intermediate) || !certificates[1].Equal(ca.root) {
		t.Errorf("certificates: %v", err)
	}
	for _, key := range []crypto.Signer{ca.rootKey, fixedKey(t, "leaf")} {
		encoded, err := EncodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseKey(encoded)
		if err != nil || !samePublicKey(key.Public(), again.Public()) {
			t.Errorf("key: %v", err)
		}
	}
	if _, err := EncodeKey(struct{ crypto.Signer }{}); err == nil {
		t.Error("a key that is not in memory was encoded")
	}
}

func TestPEMThatIsNotWhatItShouldBeIsRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t, ECDSAP256, testClock)
	certificate := string(EncodeCertificates(ca.root))
	encoded, err := EncodeKey(ca.rootKey)
	if err != nil {
		t.Fatal(err)
	}
	key := string(encoded)
	parseCertificates := func(s string) error { _, err := ParseCertificates([]byte(s)); return err }
	parseKey := func(s string) error { _, err := ParseKey([]byte(s)); return err }
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"no certificate":               {parseCertificates("hello"), "there is no certificate in PEM"},
		"a key among certificates":     {parseCertificates(certificate + key), "PEM block 2 is a PRIVATE KEY, and should be a CERTIFICATE"},
		"half a certificate":           {parseCertificates(certificate + certificate[:200]), "PEM block 2 is damaged"},
		"a certificate of noise":       {parseCertificates("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "PEM block 1: x509: malformed"},
		"no key":                       {parseKey("hello"), "there is no private key in PEM"},
		"a certificate for a key":      {parseKey(certificate), "PEM block is a CERTIFICATE, and should be a PRIVATE KEY"},
		"two keys":                     {parseKey(key + key), "after the private key there is a PRIVATE KEY"},
		"an encrypted key":             {parseKey(strings.ReplaceAll(key, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY")), "it is encrypted"},
		"a key that can only exchange": {parseKey("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIHcHbQpzGKV9PBbBclGyZkXfTC+H68CZKrF3+6UduSwq\n-----END PRIVATE KEY-----\n"), "cannot sign"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.err == nil || !strings.Contains(test.err.Error(), test.want) {
				t.Errorf("got %v, want %q", test.err, test.want)
			}
		})
	}
}
