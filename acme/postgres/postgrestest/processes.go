package postgrestest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// processes lists the server's processes, its first one first.
func (s *Server) processes() ([]int, error) {
	if s.cmd == nil {
		return nil, errors.New("the server was not started here")
	}
	// The first line of postmaster.pid (Postgres manual, "Database File Layout").
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return nil, fmt.Errorf("the server's process: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	postmaster, err := strconv.Atoi(first)
	if err != nil {
		return nil, fmt.Errorf("the server's process: %w", err)
	}
	pids := []int{postmaster}
	out, _ := exec.Command("pgrep", "-P", first).Output() // an error says that there is none
	for field := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("the server's processes: %w", err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// runs reports whether a process is neither stopped nor gone (proc(5), stat).
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "T") && !strings.HasPrefix(state, "Z")
}
