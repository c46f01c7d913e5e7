package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// contestant is a server in one configuration.
type contestant struct {
	name string
	mode generator.Mode
	// postgres says that its state is in the lab's Postgres, and waits for the disk.
	postgres bool
	// module and program say what to build: the program's package, as the module at
	// the path from the root of the repository sees it.
	module, program string
	// start runs the binary; databaseURL is of an empty database.
	start func(ctx context.Context, l *lab, binary, databaseURL string) (*process, error)
}

// own reports whether it is this server.
func (c *contestant) own() bool { return c.module == "." }

// The modules with what is built.
const (
	stepCAModule  = "test/load/step-ca"
	pebbleModule  = "test/conformance/pebble"
	stepCAProgram = "github.com/smallstep/certificates/cmd/step-ca"
	pebbleProgram = "github.com/letsencrypt/pebble/v2/cmd/pebble"
)

// The names of the contestants.
const (
	ownTrusted     = "acmeserver, trusted"
	ownHTTP01      = "acmeserver, http-01"
	stepCAPostgres = "step-ca on Postgres, http-01"
	stepCABadger   = "step-ca on badger, http-01"
	pebbleHTTP01   = "Pebble in memory, http-01"
	pebbleValid    = "Pebble in memory, always valid"
)

// contestants lists the servers that are compared, in the order of the table.
var contestants = []contestant{{
	name: ownTrusted, mode: generator.Trusted, postgres: true,
	module: ".", program: "./cmd/acmeserver", start: startACMEServer(config.Trusted),
}, {
	name: ownHTTP01, mode: generator.HTTP01, postgres: true,
	module: ".", program: "./cmd/acmeserver", start: startACMEServer(config.Challenge),
}, {
	name: stepCAPostgres, mode: generator.HTTP01, postgres: true,
	module: stepCAModule, program: stepCAProgram, start: startStepCA,
}, {
	name: stepCABadger, mode: generator.HTTP01,
	module: stepCAModule, program: stepCAProgram, start: startStepCA,
}, {
	name: pebbleHTTP01, mode: generator.HTTP01,
	module: pebbleModule, program: pebbleProgram, start: startPebble(),
}, {
	name: pebbleValid, mode: generator.HTTP01,
	module: pebbleModule, program: pebbleProgram, start: startPebble("PEBBLE_VA_ALWAYS_VALID=1"),
}}

// startACMEServer returns what starts this server as the operator's Deployment does:
// its schema migrated before, limits and logs as they are by default.
func startACMEServer(mode config.ValidationMode) func(context.Context, *lab, string, string) (*process, error) {
	return func(ctx context.Context, l *lab, binary, databaseURL string) (*process, error) {
		replicas, err := l.startReplicas(ctx, mode, binary, databaseURL, 1)
		if err != nil {
			return nil, err
		}
		return replicas[0], nil
	}
}

// startReplicas starts a number of servers on one database.
func (l *lab) startReplicas(ctx context.Context, mode config.ValidationMode, binary, databaseURL string, n int) (replicas []*process, err error) {
	urlFile := l.path("database-url")
	if err := write(urlFile, []byte(databaseURL)); err != nil {
		return nil, err
	}
	migrate := exec.CommandContext(ctx, binary, "migrate", "--database-url-file", urlFile) //nolint:gosec // what was built
	if out, err := migrate.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("migrations: %w\n%s", err, out)
	}
	addresses, urls := make([]string, n), make([]string, n)
	for i := range addresses {
		if addresses[i], err = acmetest.FreeAddress(ctx); err != nil {
			return nil, err
		}
		urls[i] = "https://" + addresses[i]
	}
	for i, address := range addresses {
		configFile := l.path(fmt.Sprintf("acmeserver%d.yaml", i))
		content, err := yaml.Marshal(config.Config{
			Listen:               config.Listen{ACME: address, HTTP: "127.0.0.1:0", Ops: "127.0.0.1:0"},
			URLs:                 urls,
			Database:             &config.Database{URLFile: urlFile},
			CertificateAuthority: config.CertificateAuthority{CertificateFile: l.issuerFile, KeyFile: l.issuerKeyFile, RootsFile: l.rootFile},
			Validation: config.Validation{
				Mode: mode, Resolvers: []string{l.responders.DNS.Address()}, HTTP01Port: l.responders.HTTP01.Port(),
				Networks: config.Networks{Allow: []string{"127.0.0.0/8"}},
			},
			ShutdownDelay: config.Duration{Duration: time.Millisecond},
		})
		if err == nil {
			err = write(configFile, content)
		}
		var p *process
		if err == nil {
			p, err = l.start(ctx, urls[i]+"/directory", exec.Command(binary, "serve", "--config", configFile)) //nolint:noctx,gosec // ends by stop
		}
		if err != nil {
			return nil, errors.Join(err, stopAll(replicas))
		}
		replicas = append(replicas, p)
	}
	return replicas, nil
}

// stopAll stops servers.
func stopAll(servers []*process) error {
	var errs []error
	for _, p := range servers {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// startStepCA starts step-ca with the logger that its own set-up writes.
func startStepCA(ctx context.Context, l *lab, binary, databaseURL string) (*process, error) {
	address, err := acmetest.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	dataDir, err := os.MkdirTemp(l.dir, "badger")
	if err != nil {
		return nil, err
	}
	db := map[string]any{"type": "badgerv2", "dataSource": dataDir}
	if databaseURL != "" {
		db = map[string]any{"type": "postgresql", "dataSource": databaseURL}
	}
	configFile := l.path("ca.json")
	err = writeJSON(configFile, map[string]any{
		"root": l.rootFile, "crt": l.issuerFile, "key": l.issuerKeyFile, "address": address, "dnsNames": []string{"127.0.0.1"},
		"logger": map[string]any{"format": "text"}, "db": db,
		"authority": map[string]any{"provisioners": []any{map[string]any{"type": "ACME", "name": "acme"}}},
	})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, configFile, "--resolver", l.responders.DNS.Address(), //nolint:noctx,gosec // ends by stop
		"--acme-http-port", strconv.Itoa(l.responders.HTTP01.Port()), "--insecure")
	return l.start(ctx, "https://"+address+"/acme/acme/directory", cmd)
}

// startPebble returns what starts Pebble as it is, but that it does not sleep before
// it validates, refuses no good nonces, and uses no authorization twice: each of
// these is there to try clients.
func startPebble(environment ...string) func(context.Context, *lab, string, string) (*process, error) {
	return func(ctx context.Context, l *lab, binary, _ string) (*process, error) {
		address, err := acmetest.FreeAddress(ctx)
		if err != nil {
			return nil, err
		}
		management, err := acmetest.FreeAddress(ctx)
		if err != nil {
			return nil, err
		}
		certificateFile, keyFile, configFile := l.path("pebble.pem"), l.path("pebble.key"), l.path("pebble.json")
		if err := l.serverCertificate(certificateFile, keyFile); err != nil {
			return nil, err
		}
		err = writeJSON(configFile, map[string]any{"pebble": map[string]any{
			"listenAddress": address, "managementListenAddress": management,
			"certificate": certificateFile, "privateKey": keyFile,
			"httpPort": l.responders.HTTP01.Port(), "tlsPort": 1, "keyAlgorithm": "ecdsa",
		}})
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(binary, "-config", configFile, "-dnsserver", l.responders.DNS.Address()) //nolint:noctx,gosec // ends by stop
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
		cmd.Env = append(cmd.Env, environment...)
		return l.start(ctx, "https://"+address+"/dir", cmd)
	}
}
