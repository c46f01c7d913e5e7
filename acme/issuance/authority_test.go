package issuance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// testNow is what the clock of a test's authority says.
var testNow = time.Date(2026, 3, 4, 5, 6, 7, 890, time.UTC)

func testClock() time.Time { return testNow }

// testProfiles has a profile of each kind, the default first.
func testProfiles() []Profile {
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return []Profile{
		{Name: "tlsserver", Description: "TLS servers", Lifetime: 90 * 24 * time.Hour, Usages: server},
		{Name: "clientserver", Description: "mTLS", Lifetime: 24 * time.Hour, Usages: append(server, x509.ExtKeyUsageClientAuth)},
		{Name: "legacy", Description: "old", Lifetime: 24 * time.Hour, Usages: server, CommonName: true, KeyEncipherment: true},
	}
}

// testCA is an authority's certificates and keys.
type testCA struct {
	root, intermediate       *x509.Certificate
	rootKey, intermediateKey crypto.Signer
}

// newCA makes a root and an intermediate with keys of the algorithm.
func newCA(t testing.TB, algorithm KeyAlgorithm, clock func() time.Time) testCA {
	t.Helper()
	var ca testCA
	var err error
	ca.root, ca.rootKey, err = NewRoot(RootConfig{
		CommonName: "Test Root", Organization: "Test", KeyAlgorithm: algorithm, Lifetime: 10 * 365 * 24 * time.Hour, Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	ca.intermediate, ca.intermediateKey, err = NewIntermediate(ca.root, ca.rootKey, IntermediateConfig{
		CommonName: "Test Intermediate", KeyAlgorithm: algorithm, Lifetime: 365 * 24 * time.Hour, Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// config returns the configuration of an authority of the CA's.
func (ca testCA) config() Config {
	return Config{
		Chain: []*x509.Certificate{ca.intermediate}, Roots: []*x509.Certificate{ca.root}, Signer: ca.intermediateKey,
		Profiles: testProfiles(), BaseURL: "http://internal.pki.svc", Clock: testClock,
	}
}

// newAuthority returns an authority with keys on P-256.
func newAuthority(t testing.TB) *Authority {
	t.Helper()
	return mustNew(t, newCA(t, ECDSAP256, testClock).config())
}

func mustNew(t testing.TB, c Config) *Authority {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fixedKey returns the same key on P-256 for the same name.
func fixedKey(t testing.TB, name string) *ecdsa.PrivateKey {
	t.Helper()
	d := sha256.Sum256([]byte(name))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signedBy returns a CA certificate signed by another, changed by edit first.
func signedBy(t testing.TB, issuer *x509.Certificate, issuerKey, key crypto.Signer, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template, _, err := caTemplate(RootConfig{CommonName: "Edited", Lifetime: 365 * 24 * time.Hour, Clock: testClock})
	if err != nil {
		t.Fatal(err)
	}
	template.Subject = pkix.Name{CommonName: "Edited"}
	edit(template)
	der, err := x509.CreateCertificate(nil, template, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnAuthorityThatCouldNotBeVerifiedIsRefused(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, ECDSAP256, testClock), newCA(t, ECDSAP384, testClock)
	edited := func(edit func(*x509.Certificate)) func(*Config) {
		return func(c *Config) {
			c.Chain = []*x509.Certificate{signedBy(t, ca.root, ca.rootKey, ca.intermediateKey, edit)}
		}
	}
	for name, test := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"no certificate":                      {func(c *Config) { c.Chain = nil }, "there is no issuing certificate"},
		"no root":                             {func(c *Config) { c.Roots = nil }, "there is no root certificate"},
		"no key":                              {func(c *Config) { c.Signer = nil }, "there is no private key"},
		"another's key":                       {func(c *Config) { c.Signer = other.intermediateKey }, `the private key (ECDSA on P-384) is not that of certificate "CN=Test Intermediate" (ECDSA on P-256)`},
		"another's root":                      {func(c *Config) { c.Roots = other.config().Roots }, `what certificate "CN=Test Intermediate" signs does not verify against the roots`},
		"a chain out of order":                {func(c *Config) { c.Chain = []*x509.Certificate{ca.intermediate, other.intermediate} }, "certificate 1 of the chain"},
		"a certificate that is no CA's":       {edited(func(c *x509.Certificate) { c.IsCA = false }), "is not a CA certificate: its basic constraints must say CA:TRUE"},
		"a key usage without keyCertSign":     {edited(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), "its key usage must have keyCertSign"},
		"an expired certificate":              {edited(func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Hour) }), "and it is 2026-03-04T05:06:07Z"},
		"a certificate of the future":         {edited(func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Hour) }), "is valid from 2026-03-04T06:06:07Z"},
		"an expired root":                     {func(c *Config) { c.Roots = []*x509.Certificate{expiredRoot(t, ca)} }, "does not verify against the roots"},
		"a profile with a usage not allowed":  {edited(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), `profile "clientserver" has a usage that the chain`},
		"a root that allows no intermediates": {pathLengthZero(t, ca), "too many intermediates"},
		"no profile":                          {func(c *Config) { c.Profiles = nil }, "there is no profile"},
		"two profiles of one name":            {func(c *Config) { c.Profiles[1].Name = "tlsserver" }, `two profiles are named "tlsserver"`},
		"a profile of one minute":             {func(c *Config) { c.Profiles[0].Lifetime = time.Minute }, `profile "tlsserver" has a lifetime of 1m0s`},
		"a profile without a usage":           {func(c *Config) { c.Profiles[0].Usages = nil }, `profile "tlsserver" has no extended key usage`},
		"a default that is not there":         {func(c *Config) { c.DefaultProfile = "x" }, `the default profile "x" is not among the profiles`},
		"an https base URL":                   {func(c *Config) { c.BaseURL = "https://internal.pki.svc" }, "write http://host"},
		"a lint that is not known":            {func(c *Config) { c.Lint = "on" }, `lint "on" is not known: write one of Off, Warn, Enforce`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := ca.config()
			test.edit(&c)
			_, err := New(c)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// expiredRoot returns the CA's root as it was in an earlier life.
func expiredRoot(t *testing.T, ca testCA) *x509.Certificate {
	template := *ca.root
	template.NotAfter = testNow.Add(-time.Hour)
	der, err := x509.CreateCertificate(nil, &template, &template, ca.rootKey.Public(), ca.rootKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pathLengthZero gives a root whose path length forbids the intermediate below it.
func pathLengthZero(t *testing.T, ca testCA) func(*Config) {
	return func(c *Config) {
		template := *ca.root
		template.MaxPathLenZero, template.MaxPathLen = true, 0
		der, err := x509.CreateCertificate(nil, &template, &template, ca.rootKey.Public(), ca.rootKey)
		if err != nil {
			t.Fatal(err)
		}
		root, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		c.Roots = []*x509.Certificate{root}
	}
}

func TestTheChainIsServedWithoutItsRoot(t *testing.T) {
	t.Parallel()
	ca := newCA(t, ECDSAP256, testClock)
	for name, test := range map[string]struct {
		edit func(*Config)
		want [][]byte
	}{
		"an intermediate":                {func(*Config) {}, [][]byte{ca.intermediate.Raw}},
		"an intermediate and the root":   {func(c *Config) { c.Chain = append(c.Chain, ca.root) }, [][]byte{ca.intermediate.Raw}},
		"a root that issues by itself":   {func(c *Config) { c.Chain, c.Signer = []*x509.Certificate{ca.root}, ca.rootKey }, [][]byte{ca.root.Raw}},
		"two roots, of which one counts": {func(c *Config) { c.Roots = append(c.Roots, newCA(t, ECDSAP256, testClock).root) }, [][]byte{ca.intermediate.Raw}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := ca.config()
			test.edit(&c)
			a := mustNew(t, c)
			want := &acme.Issuer{ID: acme.IssuerIDOf(c.Chain[0]), Chains: [][][]byte{test.want}}
			if diff := cmp.Diff(want, a.Issuer()); diff != "" {
				t.Errorf("issuer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnIssuerThatMayNotSignCRLsPointsToNone(t *testing.T) {
	t.Parallel()
	ca := newCA(t, ECDSAP256, testClock)
	c := ca.config()
	c.Chain = []*x509.Certificate{signedBy(t, ca.root, ca.rootKey, ca.intermediateKey, func(c *x509.Certificate) {
		c.KeyUsage = x509.KeyUsageCertSign
	})}
	a := mustNew(t, c)
	leaf := issue(t, a, order("a.example"), fixedKey(t, "leaf"))
	if a.SignsCRLs() || len(leaf.CRLDistributionPoints) != 0 || len(leaf.IssuingCertificateURL) != 1 {
		t.Errorf("signs CRLs: %t, CDP %v, AIA %v", a.SignsCRLs(), leaf.CRLDistributionPoints, leaf.IssuingCertificateURL)
	}
}

func TestTheProfilesAreListedForTheDirectory(t *testing.T) {
	t.Parallel()
	c := newCA(t, ECDSAP256, testClock).config()
	c.DefaultProfile = "legacy"
	a := mustNew(t, c)
	want := map[string]string{"tlsserver": "TLS servers", "clientserver": "mTLS", "legacy": "old"}
	if diff := cmp.Diff(want, a.Profiles()); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	if a.DefaultProfile() != "legacy" {
		t.Errorf("default %q", a.DefaultProfile())
	}
}
