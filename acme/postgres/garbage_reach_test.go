package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestGarbageBehindALotOfWhatIsNoneIsNotLookedFor(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	p := acme.GarbagePolicy{Batch: 1, Orders: time.Hour, Authorizations: time.Hour}
	for range 10 {
		d.order("live", "invalid", 2*day, day)
		d.authorization("live", "valid", 2*day, day)
	}
	d.order("old", "invalid", day, -time.Hour)
	d.authorization("old", "invalid", day, -time.Hour)
	if report := d.collect(p); report.More() || d.count("old") != 2 {
		t.Errorf("%+v, %d are left; want 2, as they are behind ten times a batch", report, d.count("old"))
	}
	p.Batch = 2
	d.collect(p)
	if n := d.count("old"); n != 0 {
		t.Errorf("%d are left of those that are among ten times a batch", n)
	}
}

// count returns how many orders and authorizations have a name.
func (d *dump) count(name string) (n int) {
	d.t.Helper()
	for _, row := range d.rows() {
		if strings.Contains(row, name) {
			n++
		}
	}
	return n
}
