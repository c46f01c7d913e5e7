package acme_test

import (
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestASetOfNamesIsTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	set := func(names ...string) acme.NameSet {
		var ids []acme.Identifier
		for _, name := range names {
			ids = append(ids, acme.Identifier{Type: acme.DNS, Value: name})
		}
		return acme.NameSetOf(ids)
	}
	if set("a.example", "b.example") != set("b.example", "a.example", "a.example") {
		t.Error("order or repetition made a difference")
	}
	if set("a.example") == set("a.example", "b.example") {
		t.Error("two sets are the same")
	}
}

func TestACertificateIsRenewedInTheSecondHalfOfItsLifeOrOnceItIsRevoked(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		says      string
		age, left time.Duration
		wants     bool
	}{
		{"new", 0, 90 * time.Hour, false},
		{"just before its half", time.Hour - 1, time.Hour + 1, false},
		{"at its half", time.Hour, time.Hour, true},
		{"expired", 2 * time.Hour, -time.Hour, true},
	} {
		c := &acme.Certificate{NotBefore: now.Add(-tt.age), NotAfter: now.Add(tt.left)}
		if got := acme.RenewalDue(c, now); got != tt.wants {
			t.Errorf("%s: due is %t", tt.says, got)
		}
	}
}
