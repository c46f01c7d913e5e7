package issuance

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestACertificateWithAFaultIsLoggedOrRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t, ECDSAP256, testClock)
	template := &x509.Certificate{ // a name and a CRL that RFC 5280 has rules about
		SerialNumber: big.NewInt(42), DNSNames: []string{strings.Repeat("a", 64) + ".example"},
		NotBefore: testNow, NotAfter: testNow.Add(time.Hour), BasicConstraintsValid: true,
		CRLDistributionPoints: []string{"crl"},
	}
	der, err := x509.CreateCertificate(nil, template, ca.intermediate, ca.rootKey.Public(), ca.intermediateKey)
	if err != nil {
		t.Fatal(err)
	}
	faulty, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		mode          Lint
		logged, fails bool
	}{{LintOff, false, false}, {LintWarn, true, false}, {LintEnforce, false, true}} {
		t.Run(string(test.mode), func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			l, err := newLinter(test.mode, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			err = l.check(t.Context(), faulty)
			if (err != nil) != test.fails || (log.Len() > 0) != test.logged {
				t.Errorf("error %v, log %q", err, log.String())
			}
			if err := l.check(t.Context(), faulty); (err != nil) != test.fails {
				t.Errorf("of another of the kind: error %v", err)
			}
			if lines := strings.Count(log.String(), "\n"); lines > 1 {
				t.Errorf("%d lines for two of a kind", lines)
			}
			if test.logged && !strings.Contains(log.String(), "e_") {
				t.Errorf("the log names no lint: %s", log.String())
			}
		})
	}
}

func TestNoProfileBreaksARuleForAnyKindOfKey(t *testing.T) {
	t.Parallel()
	c := newCA(t, ECDSAP256, testClock).config()
	c.Lint = LintEnforce
	a := mustNew(t, c)
	for _, algorithm := range []KeyAlgorithm{ECDSAP256, ECDSAP384, RSA2048, Ed25519} {
		key, err := GenerateKey(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		for _, profile := range testProfiles() {
			o := order("a.example", "*.b.example", "10.1.2.3", "2001:db8::1")
			o.Profile = profile.Name
			issue(t, a, o, key)
		}
	}
}

func BenchmarkLint(b *testing.B) {
	a := newAuthority(b)
	certificate := issue(b, a, order("a.example", "b.example"), fixedKey(b, "leaf"))
	l, err := newLinter(LintEnforce, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := l.check(b.Context(), certificate); err != nil {
			b.Fatal(err)
		}
	}
}
