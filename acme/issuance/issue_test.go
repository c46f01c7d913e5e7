package issuance

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme"
)

var update = flag.Bool("update", false, "write the golden files")

// order returns an order for the names, which are addresses where they look so.
func order(names ...string) *acme.Order {
	o := &acme.Order{ID: acme.NewID(), AccountID: acme.NewID(), Status: acme.OrderReady, Profile: "tlsserver"}
	for _, name := range names {
		id, err := acme.ParseIdentifier("ip", name)
		if err != nil {
			id = acme.Identifier{Type: acme.DNS, Value: name}
		}
		o.Identifiers = append(o.Identifiers, id)
	}
	o.Identifiers = acme.SortIdentifiers(o.Identifiers)
	return o
}

// issue takes an order through the authority, as finalize does.
func issue(t testing.TB, a *Authority, o *acme.Order, key crypto.Signer) *x509.Certificate {
	t.Helper()
	request, err := checkRequest(a, newRequest(t, key, o.Identifiers), o.Identifiers)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(t.Context(), o, request)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// text renders what a certificate says, without what differs at every run.
func text(a *Authority, c *x509.Certificate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version %d, serial of %d octets, %s\n", c.Version, len(c.SerialNumber.Bytes()), c.SignatureAlgorithm)
	fmt.Fprintf(&b, "issuer %q subject %q\n", c.Issuer, c.Subject)
	fmt.Fprintf(&b, "from %s to %s\nkey %s\n", stamp(c.NotBefore), stamp(c.NotAfter), describeKey(c.PublicKey))
	for _, e := range c.Extensions {
		fmt.Fprintf(&b, "extension %s critical=%t %x\n", e.Id, e.Critical, e.Value)
	}
	fmt.Fprintf(&b, "names %q %s\n", c.DNSNames, c.IPAddresses)
	fmt.Fprintf(&b, "key usage %09b, extended %v, CA %t\n", c.KeyUsage, c.ExtKeyUsage, c.IsCA)
	fmt.Fprintf(&b, "CRL %s\nissuer certificate %s\n", c.CRLDistributionPoints, c.IssuingCertificateURL)
	return strings.NewReplacer(
		fmt.Sprintf("%x", a.issuer.SubjectKeyId), "<issuer's key>",
		fmt.Sprintf("%x", a.id[:]), "<issuer>",
		fmt.Sprintf("%x", fmt.Sprintf("%x", a.id[:])), "<issuer>",
	).Replace(b.String())
}

func TestACertificateSaysWhatItsProfileDoes(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	rsaKey, err := GenerateKey(RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		profile string
		names   []string
		key     crypto.Signer
	}{
		"server":       {"tlsserver", []string{"b.example", "*.a.example", "10.1.2.3", "fd00::1"}, fixedKey(t, "leaf")},
		"clientserver": {"clientserver", []string{"a.example"}, fixedKey(t, "leaf")},
		"legacy":       {"legacy", []string{strings.Repeat("a.", 29) + "a.example", strings.Repeat("b", 50) + ".example"}, rsaKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := order(test.names...)
			o.Profile = test.profile
			c := issue(t, a, o, test.key)
			got := strings.ReplaceAll(text(a, c), fmt.Sprintf("%x", c.SubjectKeyId), "<key>")
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("certificate (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheRecordSaysWhatTheCertificateDoes(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	o := order("a.example")
	request, err := checkRequest(a, newRequest(t, fixedKey(t, "leaf"), o.Identifiers), o.Identifiers)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Issue(t.Context(), o, request)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(got.DER)
	if err != nil {
		t.Fatal(err)
	}
	want := &acme.Certificate{
		ID: o.ID, AccountID: o.AccountID, Serial: acme.Serial(c.SerialNumber.Bytes()),
		IssuerID: a.Issuer().ID, DER: got.DER, NotBefore: c.NotBefore, NotAfter: c.NotAfter, IssuedAt: testNow,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestTheValidityAskedForIsCutToWhatCanBeGiven(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	start := testNow.Truncate(time.Second).Add(-backdate)
	day := 24 * time.Hour
	end := start.Add(90*day - time.Second)
	for name, test := range map[string]struct {
		notBefore, notAfter time.Time
		from, to            time.Time // zero: malformed
	}{
		"nothing asked":                            {from: start, to: end},
		"an earlier end":                           {notAfter: testNow.Add(day), from: start, to: testNow.Add(day).Truncate(time.Second)},
		"a later end":                              {notAfter: testNow.Add(400 * day), from: start, to: end},
		"a later beginning, and no later end":      {notBefore: testNow.Add(day), from: testNow.Add(day).Truncate(time.Second), to: end},
		"a beginning of last year":                 {notBefore: testNow.Add(-365 * day), from: start, to: end},
		"a beginning a minute ago":                 {notBefore: testNow.Add(-time.Minute), from: testNow.Truncate(time.Second).Add(-time.Minute), to: end},
		"a beginning past the lifetime":            {notBefore: testNow.Add(91 * day)},
		"an end of yesterday":                      {notAfter: testNow.Add(-day)},
		"an end of a minute ago":                   {notAfter: testNow.Add(-time.Minute)},
		"an end before the beginning":              {notBefore: testNow.Add(2 * day), notAfter: testNow.Add(day)},
		"a single second":                          {notBefore: testNow.Add(day), notAfter: testNow.Add(day), from: testNow.Add(day).Truncate(time.Second), to: testNow.Add(day).Truncate(time.Second)},
		"an end in another zone, with nanoseconds": {notAfter: testNow.Add(day).In(time.FixedZone("", 3600)), from: start, to: testNow.Add(day).Truncate(time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := order("a.example")
			o.NotBefore, o.NotAfter = test.notBefore, test.notAfter
			request, err := checkRequest(a, newRequest(t, fixedKey(t, "leaf"), o.Identifiers), o.Identifiers)
			if err != nil {
				t.Fatal(err)
			}
			issued, err := a.Issue(t.Context(), o, request)
			if test.from.IsZero() {
				_ = wantProblem(t, err, acme.Malformed, "leaves no time")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !issued.NotBefore.Equal(test.from) || !issued.NotAfter.Equal(test.to) {
				t.Errorf("from %s to %s, want %s to %s", issued.NotBefore, issued.NotAfter, test.from, test.to)
			}
		})
	}
}

func TestACertificateDoesNotOutliveWhatItIsVerifiedBy(t *testing.T) {
	t.Parallel()
	now := testNow
	ca := newCA(t, ECDSAP256, testClock)
	c := ca.config()
	c.Clock = func() time.Time { return now }
	a := mustNew(t, c)

	now = ca.intermediate.NotAfter.Add(-24 * time.Hour)
	leaf := issue(t, a, order("a.example"), fixedKey(t, "leaf"))
	if !leaf.NotAfter.Equal(ca.intermediate.NotAfter) {
		t.Errorf("ends at %s, want the issuer's end %s", leaf.NotAfter, ca.intermediate.NotAfter)
	}
	now = ca.intermediate.NotAfter.Add(time.Second)
	request, err := checkRequest(a, newRequest(t, fixedKey(t, "leaf"), order("a.example").Identifiers), order("a.example").Identifiers)
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Issue(t.Context(), order("a.example"), request)
	if err == nil || !strings.Contains(err.Error(), "expired") || errors.As(err, new(*acme.Problem)) {
		t.Errorf("got %v, want an error of the inside that says expired", err)
	}
}

func TestACertificateDoesNotBeginBeforeItsIssuer(t *testing.T) {
	t.Parallel()
	ca := newCA(t, ECDSAP256, testClock)
	c := ca.config()
	begin := testNow.Truncate(time.Second)
	c.Chain = []*x509.Certificate{signedBy(t, ca.root, ca.rootKey, ca.intermediateKey, func(c *x509.Certificate) { c.NotBefore = begin })}
	leaf := issue(t, mustNew(t, c), order("a.example"), fixedKey(t, "leaf"))
	if !leaf.NotBefore.Equal(begin) {
		t.Errorf("begins at %s, want %s", leaf.NotBefore, begin)
	}
}

func TestAProfileThatIsGoneIsAProblemOfTheOrder(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	o := order("a.example")
	o.Profile = "gone"
	_, err := a.Issue(t.Context(), o, &x509.CertificateRequest{PublicKey: fixedKey(t, "leaf").Public()})
	_ = wantProblem(t, err, acme.InvalidProfile, `profile "gone" is no longer served`)
}

func TestNothingIsSignedForWhoHasGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newAuthority(t).Issue(ctx, order("a.example"), &x509.CertificateRequest{PublicKey: fixedKey(t, "leaf").Public()})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSerialNumbersAreRandomAndOfOneLength(t *testing.T) {
	t.Parallel()
	for _, now := range []time.Time{testNow, {}, time.Unix(0, 0), time.UnixMilli(1<<47 - 1), time.UnixMilli(1 << 47), time.UnixMilli(1<<48 - 1)} {
		seen, random := map[acme.Serial]bool{}, acme.Serial{}
		for range 1_000 {
			s := newSerial(now)
			if s[0] == 0 || s[0] > 0x7f || seen[s] {
				t.Fatalf("serial %s", s)
			}
			seen[s] = true
			for i := range s {
				random[i] |= s[i]
			}
		}
		if ones := bytes.Repeat([]byte{0xff}, 10); !bytes.Equal(random[6:], ones) {
			t.Errorf("of the last ten octets some bits are always zero: %x", random[6:])
		}
	}
}

func TestSerialNumbersGrowWithTime(t *testing.T) {
	t.Parallel()
	last := acme.Serial{}
	for i := range 100 {
		s := newSerial(testNow.Add(time.Duration(i) * time.Millisecond))
		if bytes.Compare(last[:], s[:]) >= 0 {
			t.Fatalf("after %s came %s", last, s)
		}
		last = s
	}
}

// faultySigner signs something else.
type faultySigner struct{ crypto.Signer }

func (s faultySigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.Signer.Sign(rand, bytes.Repeat([]byte{1}, len(digest)), opts)
}

func TestASignerThatSignsWrongIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	c := newCA(t, ECDSAP256, testClock).config()
	c.Signer = faultySigner{c.Signer}
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "trying the private key") {
		t.Errorf("got %v", err)
	}
}

func TestCertificatesVerifyForOthers(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []KeyAlgorithm{ECDSAP256, ECDSAP384, RSA2048, Ed25519} {
		t.Run(string(algorithm), func(t *testing.T) {
			t.Parallel()
			ca := newCA(t, algorithm, time.Now)
			c := ca.config()
			c.Clock, c.Lint = time.Now, LintEnforce
			leaf := issue(t, mustNew(t, c), order("a.example", "10.1.2.3"), fixedKey(t, "leaf"))
			for _, host := range []string{"a.example", "10.1.2.3"} {
				if _, err := leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: pool(c.Roots), Intermediates: pool(c.Chain)}); err != nil {
					t.Error(err)
				}
			}
			opensslVerify(t, ca, leaf)
		})
	}
}

// opensslVerify has OpenSSL verify a certificate, where there is one.
func opensslVerify(t *testing.T, ca testCA, leaf *x509.Certificate) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("there is no openssl here to ask")
		return
	}
	dir := t.TempDir()
	file := func(name string, c *x509.Certificate) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, EncodeCertificates(c), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	out, err := exec.CommandContext(t.Context(), path, "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "a.example",
		"-CAfile", file("root", ca.root), "-untrusted", file("intermediate", ca.intermediate), file("leaf", leaf)).CombinedOutput()
	if err != nil {
		t.Errorf("openssl: %v: %s", err, out)
	}
}

func BenchmarkIssue(b *testing.B) {
	for _, lint := range []Lint{LintOff, LintEnforce} {
		b.Run("P-256 lint "+string(lint), func(b *testing.B) {
			c := newCA(b, ECDSAP256, testClock).config()
			c.Lint = lint
			a := mustNew(b, c)
			o := order("a.example", "b.example")
			request, err := checkRequest(a, newRequest(b, fixedKey(b, "leaf"), o.Identifiers), o.Identifiers)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := a.Issue(b.Context(), o, request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
