//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// environment is the cluster under test.
type environment struct {
	// client reads from the API server, not from a cache.
	client client.Client
	// clientset is for what client cannot do: proxies and discovery.
	clientset *kubernetes.Clientset
	// config is how the API server is reached.
	config *rest.Config
	// kubectl and kubeconfig are for what a user would do.
	kubectl, kubeconfig string
	// root is the folder of the repository.
	root string
	// name of the kind cluster, for the scripts in hack/kind.
	name string
	// operator is its Deployment.
	operator client.ObjectKey
	// databaseImage has PostgreSQL; the tests' own databases run it too.
	databaseImage string
}

// connect finds the cluster that KUBECONFIG leads to.
func connect(ctx context.Context) (*environment, error) {
	e := &environment{kubeconfig: os.Getenv("KUBECONFIG"), kubectl: os.Getenv("KUBECTL")}
	if e.kubeconfig == "" {
		return nil, errors.New(`KUBECONFIG is not set: run hack/kind/up, then eval "$(hack/kind/env)"`)
	}
	if e.kubectl == "" {
		e.kubectl = "kubectl"
	}
	var err error
	if e.root, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", e.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.kubeconfig, err)
	}
	e.config = config
	if e.clientset, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	if e.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	e.name, err = e.kindCluster(ctx)
	return e, err
}

// newScheme returns the kinds that the tests write.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, certmanagerv1.AddToScheme, acmev1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// kindCluster returns the name of the kind cluster. No other cluster will do: the
// tests take cert-manager away, with every certificate of the cluster.
func (e *environment) kindCluster(ctx context.Context) (string, error) {
	var nodes corev1.NodeList
	if err := e.client.List(ctx, &nodes); err != nil {
		return "", fmt.Errorf("listing nodes: %w", err)
	}
	var name string
	for _, node := range nodes.Items {
		// kind://docker/<cluster>/<node>
		parts := strings.Split(strings.TrimPrefix(node.Spec.ProviderID, "kind://"), "/")
		if !strings.HasPrefix(node.Spec.ProviderID, "kind://") || len(parts) != 3 {
			return "", fmt.Errorf("node %s is not one of kind: the tests would remove cert-manager from this cluster, with all its certificates", node.Name)
		}
		name = parts[1]
	}
	return name, nil
}

// installPrerequisites installs cert-manager, the ingress controller and the name
// server where they are missing.
func (e *environment) installPrerequisites(ctx context.Context) error {
	for _, p := range []struct{ namespace, deployment, script string }{
		{"cert-manager", "cert-manager", "cert-manager"},
		{"traefik", "traefik", "ingress"},
		{"bind", "bind", "nameserver"},
	} {
		err := e.client.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: p.deployment}, &appsv1.Deployment{})
		if apierrors.IsNotFound(err) {
			err = e.script(ctx, p.script, "install")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// script runs a script of hack/kind on the cluster. It tells itself what it does, for
// minutes where it has something to build.
func (e *environment) script(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(e.root, "hack", "kind", name), args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "KIND_CLUSTER="+e.name), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// run runs kubectl, with input where it is not nil, and returns what it printed.
func (e *environment) run(ctx context.Context, input []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, e.kubectl, append([]string{"--kubeconfig", e.kubeconfig}, args...)...)
	if input != nil {
		cmd.Stdin = bytes.NewReader(input)
	}
	return output(cmd)
}

// output runs a command and returns what it printed; the error has what it
// printed to standard error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, &stderr)
	}
	return stdout.Bytes(), nil
}
