package faults

import (
	"context"
	"flag"
	"fmt"
	"syscall"
	"testing"
	"time"
)

var (
	long  = flag.Bool("long", false, "give each fault, and the time around it, as long as docs/faults.md has it")
	table = flag.String("table", "", "a Markdown `file` in which the table of results is replaced")
)

// fault is something that goes wrong under load.
type fault struct {
	name string
	mode mode
	// strike makes it go wrong for a time, and right again; recovery is measured from
	// the time that it returns.
	strike func(t *testing.T, l *load, hold time.Duration) time.Time
	// hold is how long it lasts; short is 0 where there is no short form.
	short, long time.Duration
}

// mode is how control of names is proved.
type mode string

// The modes. Trusted leaves all the load to the database and the signing.
const (
	http01  mode = "http-01"
	trusted mode = "trusted"
)

// The faults that need servers of their own kind.
const (
	fullDisk     = "no room on the disk of Postgres, and then room"
	skewedClocks = "clocks of two replicas 4 minutes behind and ahead"
)

// rollingUpgrade is no fault: nobody may notice it.
const rollingUpgrade = "SIGTERM of each server in turn, which is started again"

// faults is the list of what can go wrong with processes. What can go wrong with a
// cluster is in test/e2e.
var faults = []fault{
	{"kill -9 of a server, which is started again", http01, killServer, time.Second, 10 * time.Second},
	{"kill -9 of a server, which is started again", trusted, killServer, 0, 10 * time.Second},
	{"kill -9 of Postgres, which is started again", http01, killPostgres, 0, 5 * time.Second},
	{"kill -9 of Postgres, which is started again", trusted, killPostgres, time.Second, 5 * time.Second},
	{"Postgres stands still", http01, pausePostgres, 0, 30 * time.Second},
	{"Postgres stands still", trusted, pausePostgres, 0, 30 * time.Second},
	{"Postgres stands still, and a crowd comes", trusted, pauseInCrowd, 5 * time.Second, 30 * time.Second},
	{fullDisk, trusted, fillDisk, 3 * time.Second, 15 * time.Second},
	{rollingUpgrade, http01, replaceServers, time.Second, 5 * time.Second},
	{skewedClocks, trusted, noFault, time.Second, 10 * time.Second},
}

// The time of load before a fault and after it.
func around() time.Duration {
	if *long {
		return 10 * time.Second
	}
	return 2 * time.Second
}

// recoveryTimeout is the longest that requests may go on to fail after a fault.
const recoveryTimeout = 15 * time.Second

// answerTimeout is the longest that any client may wait for an answer.
const answerTimeout = 15 * time.Second

func TestInvariantsHoldWhateverDies(t *testing.T) {
	var rows []row
	for _, f := range faults {
		hold := f.short
		if *long {
			hold = f.long
		}
		if hold > 0 {
			t.Run(f.name+", "+string(f.mode), func(t *testing.T) { rows = append(rows, f.run(t, hold)) })
		}
	}
	report(t, rows)
}

// run has a fault happen under load and returns its row of the table.
func (f fault) run(t *testing.T, hold time.Duration) row {
	l := newLoad(t, f.start(t), f.mode)
	began := time.Now()
	l.begin(t)
	wait(t.Context(), around())
	struck := time.Now()
	over := f.strike(t, l, hold)
	wait(t.Context(), around())
	l.end()
	l.check(t)
	r := l.row(began, struck, over)
	r.fault = fmt.Sprintf("%s, after %s", f.name, hold)
	if f.mode == trusted {
		r.load += ", trusted"
	}
	if r.recovery > recoveryTimeout {
		t.Errorf("requests failed for %s after the fault; want at most %s", r.recovery, recoveryTimeout)
	}
	if len(r.failed) > 0 && (f.name == rollingUpgrade || f.name == skewedClocks) {
		t.Errorf("requests failed: %v; want none", r.failed)
	}
	if r.slowest > answerTimeout {
		t.Errorf("a client waited for %s; want at most %s", r.slowest, answerTimeout)
	}
	return r
}

// start starts the servers that the fault is for.
func (f fault) start(t *testing.T) *fleet {
	t.Helper()
	switch f.name {
	case skewedClocks:
		return startSkewedFleet(t)
	case fullDisk:
		return startFleet(t, f.mode, smallDisk(t))
	default:
		return startFleet(t, f.mode, "")
	}
}

// killServer kills a server and starts it again.
func killServer(t *testing.T, l *load, hold time.Duration) time.Time {
	t.Helper()
	killed := time.Now()
	l.fleet.replicas[0].kill()
	wait(t.Context(), hold)
	l.fleet.replicas[0].start(t)
	l.fleet.replicas[0].awaitReady(t)
	return killed // the others are there all the time
}

// replaceServers does what a rolling upgrade does: one server after the other is told
// to stop, and started again.
func replaceServers(t *testing.T, l *load, hold time.Duration) time.Time {
	t.Helper()
	for _, r := range l.fleet.replicas {
		r.stop(t)
		r.start(t)
		r.awaitReady(t)
		wait(t.Context(), hold)
	}
	return time.Now()
}

// killPostgres kills all processes of Postgres and starts it again.
func killPostgres(t *testing.T, l *load, hold time.Duration) time.Time {
	t.Helper()
	if err := l.fleet.database.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t.Context(), hold)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := l.fleet.database.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}

// pausePostgres stops all processes of Postgres, and lets them go on.
func pausePostgres(t *testing.T, l *load, hold time.Duration) time.Time {
	t.Helper()
	return stopPostgres(t, l, hold, func() {})
}

// stopPostgres stops all processes of Postgres, calls then, and lets them go on.
func stopPostgres(t *testing.T, l *load, hold time.Duration, then func()) time.Time {
	t.Helper()
	if err := l.fleet.database.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	then()
	wait(t.Context(), hold)
	if err := l.fleet.database.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}
