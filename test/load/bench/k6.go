package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// What is built, and what it runs.
const (
	k6Module  = "test/load/k6"
	k6Program = "go.k6.io/k6"
	k6Script  = "test/load/acme.js"
)

// k6Options are the flags of k6.
type k6Options struct {
	unsignedVUs, signedVUs           int
	unsignedDuration, signedDuration time.Duration
}

// runK6 starts this server on a Postgres and lets k6 make load for it. It fails where
// k6 does: a threshold was crossed.
func runK6(ctx context.Context, args []string) error {
	var o k6Options
	flags := flag.NewFlagSet("bench k6", flag.ContinueOnError)
	flags.IntVar(&o.unsignedVUs, "unsigned-vus", 100, "how many ask for what is unsigned at a time")
	flags.DurationVar(&o.unsignedDuration, "unsigned-duration", 5*time.Minute, "for how long")
	flags.IntVar(&o.signedVUs, "signed-vus", 8, "how many issue certificates at a time, after that")
	flags.DurationVar(&o.signedDuration, "signed-duration", time.Minute, "for how long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := newLab(ctx)
	if err != nil {
		return err
	}
	return errors.Join(o.run(ctx, l), l.close())
}

// run builds and runs both.
func (o *k6Options) run(ctx context.Context, l *lab) error {
	c := &contestants[0]
	progress("building %s and %s", c.program, k6Program)
	binary, err := l.build(ctx, "acmeserver", c.module, c.program)
	if err != nil {
		return err
	}
	k6, err := l.build(ctx, "k6", k6Module, k6Program)
	if err != nil {
		return err
	}
	r, err := l.run(ctx, c, binary)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, k6, "run", k6Script) //nolint:gosec // what was built
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = stopTimeout
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "K6_NO_USAGE_REPORT=true", "SSL_CERT_FILE="+l.rootFile, "DIRECTORY="+r.directoryURL,
		"UNSIGNED_VUS="+strconv.Itoa(o.unsignedVUs), "UNSIGNED_DURATION="+o.unsignedDuration.String(),
		"SIGNED_VUS="+strconv.Itoa(o.signedVUs), "SIGNED_DURATION="+o.signedDuration.String())
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("k6: %w", err)
	}
	return errors.Join(err, r.end())
}
