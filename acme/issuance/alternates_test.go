package issuance

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crossSigned returns the CA's intermediate as another root signed it.
func crossSigned(t *testing.T, ca, other testCA, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	return signedBy(t, other.root, other.rootKey, ca.intermediateKey, func(c *x509.Certificate) {
		c.Subject, c.SubjectKeyId = ca.intermediate.Subject, ca.intermediate.SubjectKeyId
		if edit != nil {
			edit(c)
		}
	})
}

func TestAlternateChainsAreServedBehindTheDefaultOneAndWithoutTheirRoots(t *testing.T) {
	t.Parallel()
	ca, second, third := newCA(t, ECDSAP256, testClock), newCA(t, ECDSAP256, testClock), newCA(t, ECDSAP256, testClock)
	bySecond, byThird := crossSigned(t, ca, second, nil), crossSigned(t, ca, third, nil)
	c := ca.config()
	c.Alternates = []*x509.Certificate{bySecond, second.root, byThird}
	want := [][][]byte{{ca.intermediate.Raw}, {bySecond.Raw}, {byThird.Raw}}
	if diff := cmp.Diff(want, mustNew(t, c).Issuer().Chains); diff != "" {
		t.Errorf("chains (-want +got):\n%s", diff)
	}
}

func TestAnAlternateChainThatHasEndedIsLeftOut(t *testing.T) {
	t.Parallel()
	ca, second, third := newCA(t, ECDSAP256, testClock), newCA(t, ECDSAP256, testClock), newCA(t, ECDSAP256, testClock)
	ended := crossSigned(t, ca, second, func(c *x509.Certificate) { c.NotAfter = testNow.Add(-1e9) })
	byThird := crossSigned(t, ca, third, nil)
	c := ca.config()
	c.Alternates = []*x509.Certificate{ended, second.root, byThird}
	want := [][][]byte{{ca.intermediate.Raw}, {byThird.Raw}}
	if diff := cmp.Diff(want, mustNew(t, c).Issuer().Chains); diff != "" {
		t.Errorf("chains (-want +got):\n%s", diff)
	}
}

func TestAnAlternateChainThatLeadsNowhereIsRefused(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, ECDSAP256, testClock), newCA(t, ECDSAP256, testClock)
	for name, test := range map[string]struct {
		chain []*x509.Certificate
		want  string
	}{
		"of another issuer":  {[]*x509.Certificate{other.intermediate}, "has not the key and the subject of"},
		"the root first":     {[]*x509.Certificate{other.root, crossSigned(t, ca, other, nil)}, "has not the key and the subject of"},
		"of no CA":           {[]*x509.Certificate{crossSigned(t, ca, other, func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false })}, "is not a CA certificate with the subject key identifier"},
		"another identifier": {[]*x509.Certificate{crossSigned(t, ca, other, func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} })}, "subject key identifier of the issuing one"},
		"not begun yet":      {[]*x509.Certificate{crossSigned(t, ca, other, func(c *x509.Certificate) { c.NotBefore = testNow.Add(1e9) })}, "alternate chain 1: certificate"},
		"out of order":       {[]*x509.Certificate{crossSigned(t, ca, other, nil), ca.root}, "alternate chain 1: certificate 1 of the chain"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := ca.config()
			c.Alternates = test.chain
			if _, err := New(c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
