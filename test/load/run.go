package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// options are the flags.
type options struct {
	generator.Config
	meter
	orders, identifiers int
	rootsFile           string
	warmup, duration    time.Duration
	http01, dns         string
}

// run makes load as the arguments say, and prints what was seen.
func run(ctx context.Context, out io.Writer, args []string) error {
	var o options
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&o.DirectoryURL, "directory", "", "the server's directory `URL` (required)")
	flags.StringVar(&o.rootsFile, "ca", "", "a PEM `file` with the roots of the server's own certificate; default the system's")
	flags.StringVar((*string)(&o.Mode), "mode", "trusted", "how control of names is proved: trusted or http-01")
	flags.StringVar((*string)(&o.Keys), "keys", "ES256", "what account keys sign with: ES256 or RS256")
	flags.IntVar(&o.Accounts, "accounts", 16, "how many accounts share the load")
	flags.IntVar(&o.Workers, "workers", 8, "how many issuances there are at most at a time")
	flags.IntVar(&o.identifiers, "identifiers", 1, "how many names a certificate has, 1 to 100")
	flags.Float64Var(&o.Rate, "rate", 0, "how many issuances begin in a second; 0: one when one has ended")
	flags.BoolVar(&o.Renew, "renew", false, "renew certificates, with renewal information (RFC 9773)")
	flags.IntVar(&o.orders, "orders", 20000, "how many orders are made up before the load, to be used in turn")
	flags.DurationVar(&o.warmup, "warmup", 2*time.Second, "how long to make load before it is measured")
	flags.DurationVar(&o.duration, "duration", 10*time.Second, "how long to make load")
	flags.StringVar(&o.http01, "http01", "127.0.0.1:5002", "the `address` at which http-01 challenges are answered")
	flags.StringVar(&o.dns, "dns", "127.0.0.1:5053", "the `address` at which DNS queries are answered")
	flags.IntVar(&o.pid, "pid", 0, "the server's process `ID`, to see what it takes of this host")
	flags.StringVar(&o.databaseURL, "database-url", "", "a `URI` of the server's Postgres, to see what that takes of this host")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.DirectoryURL == "" {
		return errors.New("-directory is missing: name the server's directory URL")
	}
	if o.rootsFile != "" {
		pem, err := os.ReadFile(o.rootsFile)
		if err != nil {
			return fmt.Errorf("-ca: %w", err)
		}
		o.Roots = x509.NewCertPool()
		if !o.Roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("-ca: no certificate in %s", o.rootsFile)
		}
	}
	return o.measure(ctx, out)
}

// measure makes the load.
func (o *options) measure(ctx context.Context, out io.Writer) error {
	if o.Mode == generator.HTTP01 {
		responders, err := generator.ServeResponders(o.http01, o.dns)
		if err != nil {
			return err
		}
		defer responders.Close()
		o.Responders = responders
	}
	orders, err := generator.MakeOrders(o.orders, o.identifiers)
	if err != nil {
		return err
	}
	o.Orders = orders
	g, err := generator.New(ctx, o.Config)
	if err != nil {
		return err
	}
	defer g.Close()
	g.Run(ctx, o.warmup)
	before, err := o.read(ctx)
	if err != nil {
		return err
	}
	result := g.Run(ctx, o.duration)
	after, err := o.read(ctx)
	if err != nil {
		return err
	}
	if err := report(out, result); err != nil {
		return err
	}
	return o.report(out, before, after, result)
}
