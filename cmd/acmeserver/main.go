// Command acmeserver is the ACME server: what the operator's Deployment runs
// (serve), a whole authority in one process (dev), and the care of a database
// (migrate, accounts, certificates).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:]); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "acmeserver:", err)
		os.Exit(1) //nolint:gocritic // nothing is left for stop to undo
	}
}
