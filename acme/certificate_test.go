package acme_test

import (
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestASerialNumberIsReadAsToolsWriteIt(t *testing.T) {
	t.Parallel()
	const want = "4f0e1d5ae7a1ca1b2f21d8f6d1a09c55"
	for _, text := range []string{want, "4F0E1D5AE7A1CA1B2F21D8F6D1A09C55", "4f:0e:1d:5a:e7:a1:ca:1b:2f:21:d8:f6:d1:a0:9c:55"} {
		got, err := acme.ParseSerial(text)
		if err != nil || got.String() != want {
			t.Errorf("%s is %s (%v)", text, got, err)
		}
	}
	for _, text := range []string{"", want[2:], want + "00", "0x" + want[2:], "4f 0e"} {
		if got, err := acme.ParseSerial(text); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
}
