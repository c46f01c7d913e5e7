package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
	"github.com/acme-ca/acme-ca-operator/controllers"
)

// Who may read the operator's metrics is told by the API server.
//
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// version is set by the linker.
var version = "dev"

// run is the operator: it returns when ctx ends, or when it cannot go on.
func run(ctx context.Context, args []string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	handler := slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel})
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	klog.SetSlogLogger(slog.New(handler))
	slog.New(handler).Info("starting", "version", version)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(controllers.HeapGrowth)
	}
	cluster, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("the cluster's address: %w", err)
	}
	mgr, err := newManager(cluster, o)
	if err != nil {
		return err
	}
	platform, err := newPlatform(ctx, mgr.GetAPIReader(), o)
	if err != nil {
		return err
	}
	reconciler, err := controllers.New(controllers.Config{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(),
		Recorder: mgr.GetEventRecorder("acme-ca-operator"),
		Pending:  pending, Migrate: migrate,
		Platform: platform, Namespaces: o.namespaces(), Registerer: metrics.Registry,
	})
	if err != nil {
		return err
	}
	if err := reconciler.SetupWithManager(ctx, mgr); err != nil {
		return err
	}
	if err := setupRateLimits(ctx, mgr, reconciler); err != nil {
		return err
	}
	garbage, err := controllers.NewGarbage(controllers.GarbageConfig{
		Servers: reconciler, Collect: collect, Registerer: metrics.Registry,
	})
	if err != nil {
		return err
	}
	if err := garbage.SetupWithManager(mgr); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// setupRateLimits adds the controllers of limits and of their policies.
func setupRateLimits(ctx context.Context, mgr ctrl.Manager, servers *controllers.AcmeServerReconciler) error {
	limits, err := controllers.NewRateLimits(controllers.RateLimitConfig{Servers: servers, Open: openLimits, Registerer: metrics.Registry})
	if err != nil {
		return err
	}
	if err := limits.SetupWithManager(ctx, mgr); err != nil {
		return err
	}
	policies, err := controllers.NewRateLimitPolicies(servers)
	if err != nil {
		return err
	}
	return policies.SetupWithManager(mgr)
}

// newManager returns a manager without controllers.
func newManager(cluster *rest.Config, o options) (ctrl.Manager, error) {
	scheme, err := controllers.NewScheme()
	if err != nil {
		return nil, err
	}
	cached := controllers.CacheOptions()
	cached.DefaultNamespaces = o.namespaces()
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme: scheme,
		Cache:  cached,
		Client: controllers.ClientOptions(),
		Metrics: metricsserver.Options{
			BindAddress: o.metricsAddress, SecureServing: true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress: o.probeAddress,
		LeaderElection:         o.leaderElection,
		LeaderElectionID:       "acme-ca-operator",
		// The process ends when the manager does: the next leader need not wait.
		LeaderElectionReleaseOnCancel: true,
		LeaderElectionNamespace:       o.leaderElectionNamespace(),
	})
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	return mgr, nil
}

// pending reports whether a schema is behind what the servers of this operator work
// with, which costs a connection and a query.
func pending(ctx context.Context, d controllers.Database) (bool, error) {
	return postgres.Pending(ctx, configOf(d))
}

// migrate brings a schema to what they work with.
func migrate(ctx context.Context, d controllers.Database) error {
	return postgres.Migrate(ctx, configOf(d))
}

// configOf returns the configuration of a database, with one connection: the operator
// keeps none to the databases of the cluster.
func configOf(d controllers.Database) postgres.Config {
	return postgres.Config{URL: d.URL, RootCAs: d.RootCAs, Schema: d.Schema, MaxConnections: 1}
}

// openLimits opens the limits of a database.
func openLimits(ctx context.Context, d controllers.Database) (controllers.LimitStore, error) {
	return postgres.New(ctx, configOf(d))
}

// collect collects the garbage of a database once.
func collect(ctx context.Context, d controllers.Database, p acme.GarbagePolicy) (acme.GarbageReport, error) {
	store, err := postgres.New(ctx, configOf(d))
	if err != nil {
		return nil, err
	}
	defer store.Close()
	return store.Collect(ctx, p)
}
