package conformance

import (
	"testing"

	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/challenge/dnspersist01"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// TestLegoProvesControlByARecordThatStays: lego has the draft before ours, with the
// account's URL in the record and other names of members.
func TestLegoProvesControlByARecordThatStays(t *testing.T) {
	t.Parallel()
	l := newLab(t, targets[0], options{persist: "ca.conformance.example"})
	c := &legoClient{t: t, lab: l, key: acmetest.NewKey(t)}
	account, err := c.register(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const domain = "persist.example"
	l.zone.add("_validation-persist."+domain, "ca.conformance.example; accounturi="+account+"; policy=wildcard")
	// Of the process: nobody else here looks for such records.
	dnspersist01.SetDefaultClient(dnspersist01.NewClient(&dnspersist01.Options{RecursiveNameservers: []string{l.dns.Address()}}))
	connected, err := c.connect()
	if err != nil {
		t.Fatal(err)
	}
	if err := connected.Challenge.SetDNSPersist01(dnspersist01.PropagationWait(0, true)); err != nil {
		t.Fatal(err)
	}
	got, err := connected.Certificate.Obtain(t.Context(), certificate.ObtainRequest{
		Domains: []string{domain, "*." + domain}, Bundle: true, KeyType: certcrypto.EC256,
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf := writePEM(t, l.dir, got.Certificate, got.PrivateKey).leaf(t)
	if len(leaf.DNSNames) != 2 {
		t.Errorf("the certificate is for %q", leaf.DNSNames)
	}
}
