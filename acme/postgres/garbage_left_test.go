package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestGarbageThatIsLeftIsKnownByItsAge(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	p := acme.DefaultGarbagePolicy()
	for _, s := range d.collect(p) {
		if s.Overdue != 0 {
			t.Errorf("%s: due for %s, of nothing", s.Name, s.Overdue)
		}
	}
	// Two of each, one of which is left. The age is by whatever makes it due.
	p.Batch = 1
	for _, left := range []time.Duration{-3 * time.Hour, -2 * time.Hour} {
		d.nonce(left - time.Minute)
		d.authorization("expired", "pending", day, left)
		d.order("expired", "pending", day, left)
		d.order("old", "invalid", 30*day-left, -day)
		d.authorization("old", "valid", 30*day-left, -day)
		d.certificate("old"+left.String(), 200*day, left-90*day, false)
		d.limit(left.String(), left-time.Hour)
		d.replica(left.String(), -left)
	}
	for _, s := range d.collect(p) {
		if s.Rows != 1 || s.Overdue < time.Hour || s.Overdue > 4*time.Hour {
			t.Errorf("%s: took %d, and what is left is due for %s; want one row, and two hours", s.Name, s.Rows, s.Overdue)
		}
	}
}

// A sweep that waits for a lock takes its own share of the time only.
func TestGarbageSweepThatHangsLeavesTimeForTheOthers(t *testing.T) {
	t.Parallel()
	d := newDump(t)
	d.fill()
	d.exec(`BEGIN`)
	d.exec(`LOCK TABLE orders IN ACCESS EXCLUSIVE MODE`)
	defer d.exec(`ROLLBACK`)
	// A share of it is more than a sweep takes on a machine that is busy with all tests.
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Second)
	defer cancel()
	report, err := d.store.Collect(ctx, acme.DefaultGarbagePolicy())
	if err == nil || len(report) != len(sweptTables()) {
		t.Fatalf("%d sweeps are reported, and the error %v; want all, and that of those that hang", len(report), err)
	}
	for _, s := range report {
		hangs := sweptTables()[s.Name] == "orders" || s.Name == "old certificates"
		if (s.Err != nil) != hangs {
			t.Errorf("%s: error %v", s.Name, s.Err)
		}
	}
}
