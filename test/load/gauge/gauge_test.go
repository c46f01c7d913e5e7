package gauge_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/test/load/gauge"
)

func TestTheProcessorTimeOfChildrenIsCounted(t *testing.T) {
	t.Parallel()
	before, err := gauge.CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// A child that has ended and was waited for.
	if err := exec.Command("sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").Run(); err != nil {
		t.Fatal(err)
	}
	after, err := gauge.CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if took := after - before; took < 20*time.Millisecond {
		t.Errorf("a loop of 200,000 in a child took %s of the processors; want what it took", took)
	}
}

func TestProcessorsAreAsBusyAsAProcessOfTheirsAtLeast(t *testing.T) {
	t.Parallel()
	before, err := gauge.Busy()
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").Run(); err != nil {
		t.Fatal(err)
	}
	after, err := gauge.Busy()
	if err != nil {
		t.Fatal(err)
	}
	if took := after - before; took < 20*time.Millisecond {
		t.Errorf("the processors were busy for %s during a loop of 200,000", took)
	}
}

func TestThePeakOfMemoryIsThatOfTheProcess(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	block := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	peak, err := gauge.PeakMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if peak < size || peak > 100*size {
		t.Errorf("the peak with %d bytes in use is %d (%d)", size, peak, block[0])
	}
}

func TestAProcessThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := gauge.CPU(1 << 30); err == nil {
		t.Error("the processor time of no process is no error")
	}
	if _, err := gauge.PeakMemory(1 << 30); err == nil {
		t.Error("the memory of no process is no error")
	}
}

func TestCommitsSyncsAndRoundTripsOfADatabaseAreCounted(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.Start(t.Context(), postgrestest.Options{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	url := server.URL(t)
	proxy, err := gauge.StartProxy(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	before, err := gauge.ReadDatabase(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, proxy.URL(), 20)
	if err := gauge.AwaitIdle(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	after, err := gauge.ReadDatabase(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	// One statement each, and some for the connections' own sake.
	for name, got := range map[string]int64{
		"commits": after.Sub(before).Commits, "syncs": after.Sub(before).Syncs, "round trips": proxy.RoundTrips(),
	} {
		if got < 20 || got > 32 {
			t.Errorf("%d %s for 20 transactions of one statement", got, name)
		}
	}
	if got := after.Sub(before).WAL; got < 20*50 {
		t.Errorf("the log of 20 transactions has %d bytes", got)
	}
	postmaster, err := gauge.Postmaster(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if cpu, err := gauge.CPU(postmaster); err != nil || cpu == 0 {
		t.Errorf("Postgres took %s of the processors (%v)", cpu, err)
	}
}

// commit makes a table and commits n rows, one by one.
func commit(t *testing.T, url string, n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the statements have told
	if _, err := conn.Exec(t.Context(), `CREATE TABLE numbers (n int)`); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := conn.Exec(t.Context(), `INSERT INTO numbers VALUES ($1)`, i); err != nil {
			t.Fatal(err)
		}
	}
}
