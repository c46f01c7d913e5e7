//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// suite is the cluster under test. It is a variable because TestMain has no
// other way to hand it to the tests, which only read it.
var suite *environment

func TestMain(m *testing.M) {
	// A new machine builds cert-manager, an ingress controller and a name server first.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	log.SetLogger(logr.Discard()) // what goes wrong comes as an error
	var err error
	if suite, err = prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1) //nolint:gocritic // the process ends, and its context with it
	}
	os.Exit(m.Run())
}

// prepare connects to the cluster and installs what is missing in it.
func prepare(ctx context.Context) (*environment, error) {
	e, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.installPrerequisites(ctx); err != nil {
		return nil, err
	}
	if err := e.installOperator(ctx); err != nil {
		return nil, err
	}
	return e, nil
}
