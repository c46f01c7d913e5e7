package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// defaultDatabaseImage is that of embedded databases where neither a flag nor the
// environment names one.
const defaultDatabaseImage = "docker.io/library/postgres:18"

// options is what the command line says. Flags that tell the operator about
// itself have a variable of the environment as their default, which
// config/manager sets.
type options struct {
	metricsAddress string
	probeAddress   string
	leaderElection bool
	serverImage    string
	databaseImage  string
	clusterDomain  string
	namespace      string
	certManager    string
	watch          string
	issuers        string
	logLevel       slog.Level
}

// parseOptions reads the command line.
func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "`address` of the metrics, by HTTPS, for who may get /metrics; 0 for none")
	flags.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz")
	flags.BoolVar(&o.leaderElection, "leader-elect", false, "let one of several managers work at a time")
	flags.StringVar(&o.serverImage, "server-image", os.Getenv("SERVER_IMAGE"),
		"`image` of the servers ($SERVER_IMAGE); default: that of the operator's own pod")
	flags.StringVar(&o.databaseImage, "database-image", cmp.Or(os.Getenv("DATABASE_IMAGE"), defaultDatabaseImage),
		"`image` of the embedded databases ($DATABASE_IMAGE)")
	flags.StringVar(&o.clusterDomain, "cluster-domain", "cluster.local", "DNS `domain` of the cluster")
	flags.StringVar(&o.namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "acme-ca-system"),
		"`namespace` that the operator runs in ($POD_NAMESPACE)")
	flags.StringVar(&o.certManager, "cert-manager-namespace", "cert-manager",
		"`namespace` that cert-manager has the Secrets of ClusterIssuers in (its flag --cluster-resource-namespace)")
	flags.StringVar(&o.watch, "watch-namespaces", "", "`list` of namespaces to work in, separated by commas; empty for all")
	flags.StringVar(&o.issuers, "cluster-issuer-namespaces", os.Getenv("CLUSTER_ISSUER_NAMESPACES"),
		"`list` of namespaces, separated by commas, whose AcmeServers choose name and solvers of their ClusterIssuers ($CLUSTER_ISSUER_NAMESPACES); * for all")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "lowest `level` of log lines: DEBUG, INFO, WARN or ERROR")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("%q is one argument too many: manager takes flags only", flags.Arg(0))
	}
	if o.databaseImage == "" || o.clusterDomain == "" || o.namespace == "" || o.certManager == "" {
		return options{}, errors.New("--database-image, --cluster-domain, --namespace and --cert-manager-namespace cannot be empty")
	}
	return o, nil
}

// namespaces returns the cache's configuration for the namespaces to work in.
func (o options) namespaces() map[string]cache.Config {
	namespaces := map[string]cache.Config{}
	for _, name := range split(o.watch) {
		namespaces[name] = cache.Config{}
	}
	if len(namespaces) == 0 {
		return nil
	}
	return namespaces
}

// split returns the names of a list that is separated by commas.
func split(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ' ' })
}

// leaderElectionNamespace is where the lease is; empty, where no leader is
// elected, leaves it to the manager.
func (o options) leaderElectionNamespace() string {
	if !o.leaderElection {
		return ""
	}
	return o.namespace
}
