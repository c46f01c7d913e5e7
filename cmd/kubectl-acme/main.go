// Command kubectl-acme is a plugin of kubectl: `kubectl acme` runs the commands of
// acmeserver that work on a database in a pod of an AcmeServer, where the database is
// known and can be reached. So the right to it is Kubernetes's right to execute commands
// in pods (pods/exec) of the namespace.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if ended, ok := errors.AsType[*exec.ExitError](err); ok { // which has said why
		os.Exit(ended.ExitCode()) //nolint:gocritic // nothing is left for stop to undo
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kubectl acme:", err)
		os.Exit(1)
	}
}

// run runs a command in a pod, by kubectl.
func run(ctx context.Context, args []string) error {
	command, err := kubectl(args)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "kubectl", command...) //nolint:gosec // as the user says
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
