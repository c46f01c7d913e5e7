package faults

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// diskSize is that of the file system which is to be full: what an empty database
// takes, and room for a minute of load.
const diskSize = "400m"

// smallDisk mounts a small file system for the files of a database.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "faults") //nolint:usetesting // where t.TempDir is others may not enter, and Postgres is another user
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+diskSize, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("a disk that can be full is a tmpfs, which on Linux root may mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
		_ = os.Remove(dir)
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fillDisk takes all space of the database's disk for a time, and has Postgres ask for
// more: tables can then not grow, and where there is no room for the write-ahead log it
// ends by itself.
func fillDisk(t *testing.T, l *load, hold time.Duration) time.Time {
	t.Helper()
	filler := filepath.Join(l.fleet.disk, "filler")
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}
	full, cancel := context.WithTimeout(t.Context(), hold)
	defer cancel()
	refused := 0
	for full.Err() == nil {
		if err := switchLog(full, l.fleet.url); err != nil {
			refused++
		}
		wait(full, 200*time.Millisecond)
	}
	if refused == 0 {
		t.Error("Postgres has found room: nothing was tried")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	err := poll(ctx, func() error {
		conn, err := pgx.Connect(ctx, l.fleet.url)
		if err == nil {
			return conn.Close(ctx)
		}
		if l.fleet.database.Signal(0) != nil { // it has ended; what supervises it starts it
			return errors.Join(err, l.fleet.database.Restart(ctx))
		}
		return err
	})
	if err != nil {
		t.Fatalf("Postgres is not back with room on its disk: %v", err)
	}
	return freed
}

// fill writes a file until there is no room.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); err != nil { // there is no room for so much
			block = block[:len(block)/2]
		}
	}
	return nil
}

// switchLog makes Postgres begin a new file of its write-ahead log.
func switchLog(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `SELECT pg_switch_wal()`)
	return err
}
