package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// version is set by the linker.
var version = "dev"

// command is a subcommand.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, flags *flag.FlagSet, args []string) error
}

// commands lists the subcommands, in the order of the usage text.
var commands = []command{
	{"serve", "serve ACME as a configuration file says", serve},
	{"dev", "serve ACME with a new authority, in one process, for trying it out and for tests of clients", dev},
	{"migrate", "bring a database's schema to this version", migrate},
	{"accounts", "list the accounts in a database, or end some", verbs(accountVerbs)},
	{"certificates", "list the certificates in a database, or revoke some", verbs(certificateVerbs)},
	{"version", "print the version", func(context.Context, *flag.FlagSet, []string) error { _, err := fmt.Println(version); return err }},
}

// run executes a command line.
func run(ctx context.Context, args []string) error {
	return dispatch(ctx, "acmeserver", commands, args)
}

// verbs returns what runs a command that is followed by one of several verbs.
func verbs(of []command) func(context.Context, *flag.FlagSet, []string) error {
	return func(ctx context.Context, flags *flag.FlagSet, args []string) error {
		return dispatch(ctx, flags.Name(), of, args)
	}
}

// dispatch runs the command that the first argument names.
func dispatch(ctx context.Context, program string, commands []command, args []string) error {
	if len(args) == 0 {
		return errors.New(usage(program, commands))
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		if strings.TrimLeft(args[0], "-") == "help" || args[0] == "-h" {
			_, err := fmt.Println(usage(program, commands))
			return err
		}
		return fmt.Errorf("%q is not a command; %s", args[0], usage(program, commands))
	}
	flags := flag.NewFlagSet(program+" "+commands[i].name, flag.ContinueOnError)
	return commands[i].run(ctx, flags, args[1:])
}

// usage returns the list of commands.
func usage(program string, commands []command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s COMMAND [FLAG]...\n\ncommands:\n", program)
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(&b, "\n`%s COMMAND -h` lists the flags of a command.", program)
	return b.String()
}

// parse parses the flags of a command that takes no other arguments.
func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is one argument too many: %s takes flags only", flags.Arg(0), flags.Name())
	}
	return nil
}

// newLogger returns the logger of the process, which writes JSON to standard error.
func newLogger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
