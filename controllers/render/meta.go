package render

import (
	"encoding/json"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

// Operator is the name of the operator: as field manager, in the label
// managed-by of all that it makes, and as the label name of its own pods.
const Operator = "acme-ca-operator"

// The labels of all objects.
const (
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelServerNamespace and LabelServerName say on a ClusterIssuer, which can
	// have no owner in a namespace, whose it is.
	LabelServerNamespace = "acme-ca.dev/server-namespace"
	LabelServerName      = "acme-ca.dev/server-name"
	// annotationDigest is on pods: it changes with what they read at their start.
	annotationDigest = "acme-ca.dev/digest"
)

// component is a part of an AcmeServer.
type component struct{ name, component string }

// The components.
var (
	server    = component{"acmeserver", "server"}
	database  = component{"acmeserver-database", "database"}
	authority = component{"acmeserver", "certificate-authority"}
)

// selector returns the labels that select the component's pods. They can never
// be changed: a Deployment's selector is immutable.
func (c component) selector(s *v1alpha1.AcmeServer) map[string]string {
	return map[string]string{labelName: c.name, labelInstance: s.Name}
}

// labels returns the labels of the component's objects.
func (c component) labels(s *v1alpha1.AcmeServer) map[string]string {
	labels := c.selector(s)
	labels[labelComponent] = c.component
	labels[LabelManagedBy] = Operator
	return labels
}

// PodSelector returns the labels that select the servers' pods.
func PodSelector(s *v1alpha1.AcmeServer) map[string]string { return server.selector(s) }

// OwnerReference returns the reference to s of the objects that go with it.
func OwnerReference(s *v1alpha1.AcmeServer) metav1.OwnerReference {
	return *metav1.NewControllerRef(s, v1alpha1.GroupVersion.WithKind("AcmeServer"))
}

// owner is OwnerReference as an apply configuration.
func owner(s *v1alpha1.AcmeServer) *metav1ac.OwnerReferenceApplyConfiguration {
	ref := OwnerReference(s)
	return metav1ac.OwnerReference().
		WithAPIVersion(ref.APIVersion).WithKind(ref.Kind).
		WithName(ref.Name).WithUID(ref.UID).
		WithController(*ref.Controller).WithBlockOwnerDeletion(*ref.BlockOwnerDeletion)
}

// convert returns a value of the API as the apply configuration of its type.
func convert[A any](value any) (*A, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("writing a %T: %w", value, err)
	}
	into := new(A)
	if err := json.Unmarshal(data, into); err != nil {
		return nil, fmt.Errorf("reading a %T as %T: %w", value, into, err)
	}
	return into, nil
}

// convertEach is convert of every value of a list.
func convertEach[A, V any](values []V) ([]*A, error) {
	var all []*A
	for _, v := range values {
		a, err := convert[A](v)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// merge returns the entries of all maps; later ones win.
func merge(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, m := range all {
		maps.Copy(merged, m)
	}
	return merged
}
