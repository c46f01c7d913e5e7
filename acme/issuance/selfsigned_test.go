package issuance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestAuthoritiesThatAreNotMade(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, ECDSAP256, testClock), newCA(t, ECDSAP256, testClock)
	good := IntermediateConfig{CommonName: "x", Lifetime: ca.root.NotAfter.Sub(testNow), Clock: testClock}
	with := func(edit func(*IntermediateConfig)) IntermediateConfig { c := good; edit(&c); return c }
	intermediate := func(c IntermediateConfig) error { _, _, err := NewIntermediate(ca.root, ca.rootKey, c); return err }
	_, _, wrongKey := NewIntermediate(ca.root, other.rootKey, good)
	_, _, below := NewIntermediate(ca.intermediate, ca.intermediateKey, good)
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"without a name":           {intermediate(with(func(c *IntermediateConfig) { c.CommonName = "" })), `common name ""`},
		"with too long a name":     {intermediate(with(func(c *IntermediateConfig) { c.CommonName = strings.Repeat("a", 65) })), "1 to 64 octets"},
		"for an hour":              {intermediate(with(func(c *IntermediateConfig) { c.Lifetime = 3600e9 })), "lifetime 1h0m0s: it should be at least a day"},
		"with an unknown key":      {intermediate(with(func(c *IntermediateConfig) { c.KeyAlgorithm = "DSA" })), `key algorithm "DSA" is not known`},
		"with another's key":       {wrongKey, "the private key is not that of"},
		"below an intermediate":    {below, "has a path length of 0"},
		"after its root has ended": {intermediate(with(func(c *IntermediateConfig) { c.Clock = lateClock })), "is valid from"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.err == nil || !strings.Contains(test.err.Error(), test.want) {
				t.Errorf("got %v, want %q", test.err, test.want)
			}
		})
	}
	_, key, err := NewRoot(RootConfig{CommonName: "x", Lifetime: good.Lifetime})
	if _, ok := key.(*ecdsa.PrivateKey); err != nil || !ok {
		t.Errorf("a root with the defaults: %T %v", key, err)
	}
}

func lateClock() time.Time { return testNow.Add(20 * 365 * 24 * time.Hour) }

func TestAuthoritiesThatAreMade(t *testing.T) {
	t.Parallel()
	ca := newCA(t, ECDSAP256, testClock)
	begin := testNow.Add(-backdate).Truncate(time.Second)
	for name, test := range map[string]struct {
		got  *x509.Certificate
		days int
		path int
	}{
		"the root":         {ca.root, 3650, -1},
		"the intermediate": {ca.intermediate, 365, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := test.got
			if !c.NotBefore.Equal(begin) || !c.NotAfter.Equal(begin.Add(time.Duration(test.days)*24*time.Hour-time.Second)) {
				t.Errorf("from %s to %s", c.NotBefore, c.NotAfter)
			}
			if !c.IsCA || c.MaxPathLen != test.path || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
				t.Errorf("CA %t, path length %d, key usage %b", c.IsCA, c.MaxPathLen, c.KeyUsage)
			}
			if len(c.SubjectKeyId) != 20 || !bytes.Equal(c.AuthorityKeyId, ca.root.SubjectKeyId) || len(c.SerialNumber.Bytes()) != 16 {
				t.Errorf("key %x, issuer's key %x, serial number %x", c.SubjectKeyId, c.AuthorityKeyId, c.SerialNumber)
			}
		})
	}
	if got := ca.root.Subject.String(); got != "CN=Test Root,O=Test" {
		t.Errorf("subject %s", got)
	}
}
