package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// annotationApplied has the digest of what was last applied.
const annotationApplied = "acme-ca.dev/applied"

// apply brings an object to what was rendered, by server-side apply, and returns
// it as it then is. Nothing is written where the object was applied from the same
// configuration (its annotation says so, which covers fields that were taken
// back) and has every field of it still (which covers what others changed).
//
// An object that belongs to somebody else is left alone.
func (r *AcmeServerReconciler) apply(ctx context.Context, s *v1alpha1.AcmeServer, configuration any) (client.Object, error) {
	desired, err := withDigest(configuration)
	if err != nil {
		return nil, err
	}
	current, err := r.current(ctx, desired)
	if err != nil {
		return nil, err
	}
	if current != nil {
		if !belongs(current, s) {
			return nil, blockedf(v1alpha1.ReasonNameTaken, "%s %s exists and does not belong to this AcmeServer: delete or rename it",
				desired.GetKind(), desired.GetName())
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(current)
		if err != nil {
			return nil, fmt.Errorf("reading %s %s: %w", desired.GetKind(), desired.GetName(), err)
		}
		if contains(content, desired.Object) {
			return current, nil
		}
	}
	err = r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(desired), client.FieldOwner(render.Operator), client.ForceOwnership)
	if err != nil {
		return nil, fmt.Errorf("applying %s %s: %w", desired.GetKind(), desired.GetName(), err)
	}
	return r.typed(desired)
}

// withDigest returns a configuration as the API server gets it, with the
// annotation that has its digest.
func withDigest(configuration any) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(configuration)
	if err != nil {
		return nil, fmt.Errorf("writing a %T: %w", configuration, err)
	}
	desired := &unstructured.Unstructured{}
	if err := desired.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("reading a %T: %w", configuration, err)
	}
	digest := sha256.Sum256(data)
	annotations := desired.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationApplied] = hex.EncodeToString(digest[:16])
	desired.SetAnnotations(annotations)
	return desired, nil
}

// current returns the object in the cluster, or nil. The cache only has what
// bears our label, so that the API server is asked before an object is made: one
// of the same name may be somebody else's.
func (r *AcmeServerReconciler) current(ctx context.Context, desired *unstructured.Unstructured) (client.Object, error) {
	empty, err := r.Client.Scheme().New(desired.GroupVersionKind())
	if err != nil {
		return nil, fmt.Errorf("kind %s: %w", desired.GroupVersionKind(), err)
	}
	object, ok := empty.(client.Object)
	if !ok {
		return nil, fmt.Errorf("kind %s is not an object", desired.GroupVersionKind())
	}
	key := client.ObjectKeyFromObject(desired)
	err = r.Client.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, key, object)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", desired.GetKind(), desired.GetName(), err)
	}
	// An object from the API server, unlike one of the cache, does not say its kind.
	object.GetObjectKind().SetGroupVersionKind(desired.GroupVersionKind())
	return object, nil
}

// typed returns an object of its Go type.
func (r *AcmeServerReconciler) typed(u *unstructured.Unstructured) (client.Object, error) {
	empty, err := r.Client.Scheme().New(u.GroupVersionKind())
	if err != nil {
		return nil, fmt.Errorf("kind %s: %w", u.GroupVersionKind(), err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, empty); err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	object, ok := empty.(client.Object)
	if !ok {
		return nil, fmt.Errorf("kind %s is not an object", u.GroupVersionKind())
	}
	return object, nil
}

// belongs reports whether an object is s's: by its owner, or, where it can have
// none, by its labels.
func belongs(o client.Object, s *v1alpha1.AcmeServer) bool {
	if o.GetNamespace() != "" {
		return metav1.IsControlledBy(o, s)
	}
	for label, value := range render.ClusterIssuerLabels(s) {
		if o.GetLabels()[label] != value {
			return false
		}
	}
	return true
}

// remove deletes an object that is no longer asked for, if there is one of ours.
func (r *AcmeServerReconciler) remove(ctx context.Context, s *v1alpha1.AcmeServer, object client.Object, name string) error {
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %T %s: %w", object, name, err)
	}
	if !belongs(object, s) || !object.GetDeletionTimestamp().IsZero() {
		return nil
	}
	uid := object.GetUID()
	err = r.Client.Delete(ctx, object, client.Preconditions{UID: &uid})
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("deleting %T %s: %w", object, name, err)
	}
	return nil
}

// contains reports whether every field of desired is in current with the same
// value. A list of values must be equal; of a list of objects, which the API
// server may add to, each must be there.
func contains(current, desired any) bool {
	switch desired := desired.(type) {
	case map[string]any:
		fields, ok := current.(map[string]any)
		if !ok {
			return len(desired) == 0 && current == nil
		}
		for name, value := range desired {
			if !contains(fields[name], value) {
				return false
			}
		}
		return true
	case []any:
		items, ok := current.([]any)
		if !ok {
			return len(desired) == 0 && current == nil
		}
		return containsItems(items, desired)
	default:
		return equalValue(current, desired)
	}
}

// containsItems is contains of lists.
func containsItems(current, desired []any) bool {
	for i, value := range desired {
		if _, isObject := value.(map[string]any); !isObject {
			return len(current) == len(desired) && containsAt(current, desired)
		}
		// The same place first: it is where the item nearly always is.
		found := i < len(current) && contains(current[i], value)
		for j := 0; !found && j < len(current); j++ {
			found = contains(current[j], value)
		}
		if !found {
			return false
		}
	}
	return true
}

// containsAt is contains of lists of equal length, place by place.
func containsAt(current, desired []any) bool {
	for i := range desired {
		if !contains(current[i], desired[i]) {
			return false
		}
	}
	return true
}

// equalValue compares values of JSON; numbers come as int64 or as float64.
func equalValue(a, b any) bool {
	return reflect.DeepEqual(number(a), number(b))
}

func number(v any) any {
	if i, ok := v.(int64); ok {
		return float64(i)
	}
	return v
}
