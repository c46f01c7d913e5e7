package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// machine describes the processors, and says how many P-256 signatures one of them
// verifies in a second, where openssl can tell: what this server's throughput is
// made of. 0 where it cannot.
func machine(ctx context.Context) (text string, verify float64) {
	text = fmt.Sprintf("%d processors", runtime.NumCPU())
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if model, ok := strings.CutPrefix(line, "model name"); ok {
				text += " (" + strings.TrimSpace(strings.TrimLeft(model, "\t :")) + ")"
				break
			}
		}
	}
	out, err := exec.CommandContext(ctx, "openssl", "speed", "-seconds", "2", "ecdsap256").Output()
	fields := strings.Fields(string(out)) // the last one is the verifications
	if err != nil || len(fields) == 0 {
		return text, 0
	}
	if verify, err = strconv.ParseFloat(fields[len(fields)-1], 64); err != nil {
		return text, 0
	}
	return fmt.Sprintf("%s, of which one verifies %.0f P-256 signatures a second (openssl speed ecdsap256)", text, verify), verify
}
