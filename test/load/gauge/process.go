// Package gauge measures what a server and its Postgres take of the machine while
// they bear a load: processor time and memory of processes of this host, and the
// commits, the log and the round trips of a database.
//
// It reads /proc, and so knows Linux only. It knows nothing of ACME.
package gauge

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of processor time in /proc: USER_HZ, 100 in a second on
// every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// process is a line of /proc/PID/stat (proc_pid_stat(5)).
type process struct {
	pid, parent int
	// cpu is the time of its own threads, and of the children that it has waited for.
	cpu time.Duration
}

// readProcess reads about one process.
func readProcess(pid int) (process, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	return parseProcess(pid, data)
}

// parseProcess reads a line of /proc/PID/stat.
func parseProcess(pid int, data []byte) (process, error) {
	// The name, in parentheses, may have spaces and parentheses itself.
	const state, parent, firstTime, lastTime = 0, 1, 11, 14
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) <= lastTime {
		return process{}, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields)-state)
	}
	p := process{pid: pid}
	var err error
	if p.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return process{}, fmt.Errorf("/proc/%d/stat: parent: %w", pid, err)
	}
	for _, text := range fields[firstTime : lastTime+1] { // utime, stime, cutime, cstime
		ticks, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return process{}, fmt.Errorf("/proc/%d/stat: time: %w", pid, err)
		}
		p.cpu += time.Duration(ticks) * clockTick
	}
	return p, nil
}

// CPU returns the processor time that a process and its children, living or ended,
// have taken so far.
func CPU(pid int) (time.Duration, error) {
	own, err := readProcess(pid)
	if err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	total := own.cpu
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	for _, path := range paths {
		child, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if p, err := readProcess(child); err == nil && p.parent == pid { // else it has ended since
			total += p.cpu
		}
	}
	return total, nil
}

// Busy returns how long the processors of this host were not idle so far, together.
func Busy() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("busy processors: %w", err)
	}
	// cpu user nice system idle iowait irq softirq steal guest guest_nice (proc_stat(5));
	// the guests are in user and nice.
	const idle, iowait, last = 4, 5, 8
	first, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(first)
	if len(fields) <= last || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", first)
	}
	var busy time.Duration
	for i := 1; i <= last; i++ {
		ticks, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != idle && i != iowait {
			busy += time.Duration(ticks) * clockTick
		}
	}
	return busy, nil
}

// PeakMemory returns the most memory that a process has had resident so far, in
// bytes.
func PeakMemory(pid int) (int64, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("peak memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", path, err)
			}
			return kilobytes << 10, nil
		}
	}
	return 0, fmt.Errorf("%s has no VmHWM", path)
}
