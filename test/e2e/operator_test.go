//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// installOperator applies config/default as a user would, and waits for it.
// Without E2E_OPERATOR_IMAGE the operator that the cluster has is the one that is
// tested.
func (e *environment) installOperator(ctx context.Context) error {
	e.databaseImage = os.Getenv("DATABASE_IMAGE")
	image := os.Getenv("E2E_OPERATOR_IMAGE")
	if image != "" {
		if err := e.applyOperator(ctx, image); err != nil {
			return err
		}
	}
	if err := e.findOperator(ctx); err != nil {
		return err
	}
	// Namespaces of tests have names that nobody knows before.
	if _, err := e.run(ctx, nil, "-n", e.operator.Namespace, "set", "env", "deployment", e.operator.Name, "CLUSTER_ISSUER_NAMESPACES=*"); err != nil {
		return err
	}
	if image != "" {
		// The image may be another one than before, under the same name.
		if _, err := e.run(ctx, nil, "-n", e.operator.Namespace, "rollout", "restart", "deployment", e.operator.Name); err != nil {
			return err
		}
	}
	_, err := e.run(ctx, nil, "-n", e.operator.Namespace, "rollout", "status", "deployment", e.operator.Name, "--timeout=300s")
	return err
}

// applyOperator applies config/default with an image.
func (e *environment) applyOperator(ctx context.Context, image string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(e.root, "hack", "manifests"))
	cmd.Env = append(os.Environ(), "IMAGE="+image, "DATABASE_IMAGE="+e.databaseImage)
	manifests, err := output(cmd)
	if err != nil {
		return err
	}
	if _, err := e.run(ctx, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		return err
	}
	_, err = e.run(ctx, nil, "wait", "--for=condition=Established", "--timeout=60s", "crd/acmeservers.acme-ca.dev")
	return err
}

// findOperator finds the operator's Deployment by its label.
func (e *environment) findOperator(ctx context.Context) error {
	var deployments appsv1.DeploymentList
	if err := e.client.List(ctx, &deployments, client.MatchingLabels{"app.kubernetes.io/name": render.Operator}); err != nil {
		return err
	}
	if len(deployments.Items) != 1 {
		return fmt.Errorf("the cluster has %d operators: set E2E_OPERATOR_IMAGE to an image that the cluster has, and one is installed", len(deployments.Items))
	}
	e.operator = client.ObjectKeyFromObject(&deployments.Items[0])
	return nil
}

// withoutOperator runs something while no operator does.
func (n *namespace) withoutOperator(t *testing.T, run func()) {
	t.Helper()
	t.Cleanup(func() { // if it fails
		if err := n.scaleOperator(context.Background(), 1); err != nil {
			t.Error(err)
		}
	})
	if err := n.scaleOperator(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	await(t, "no operator runs", n.operatorGone)
	run()
	if err := n.scaleOperator(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	await(t, "the operator runs", func(ctx context.Context) error { return n.rolledOut(ctx, n.operator) })
}

// scaleOperator ends the operator, or lets it run again.
func (e *environment) scaleOperator(ctx context.Context, replicas int32) error {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: e.operator.Namespace, Name: e.operator.Name}}
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if err := e.client.SubResource("scale").Update(ctx, deployment, client.WithSubResourceBody(scale)); err != nil {
		return fmt.Errorf("scaling the operator to %d: %w", replicas, err)
	}
	return nil
}

// operatorGone checks that there are no pods of the operator, not even such as
// are ending.
func (e *environment) operatorGone(ctx context.Context) error {
	var pods corev1.PodList
	err := e.client.List(ctx, &pods, client.InNamespace(e.operator.Namespace),
		client.MatchingLabels{"app.kubernetes.io/name": render.Operator})
	if err == nil && len(pods.Items) > 0 {
		err = fmt.Errorf("%d pods are there", len(pods.Items))
	}
	return err
}
