// Package v1alpha1 is the API of acme-ca-operator as Kubernetes stores it: group
// acme-ca.dev, version v1alpha1.
//
// It promises that a value which the API server accepted can be acted on: every
// rule that can be told from the object alone stands here, as a marker with a
// message that says what would be right. It knows neither how the objects are
// rendered (controllers/render) nor reconciled (controllers).
//
// +kubebuilder:object:generate=true
// +groupName=acme-ca.dev
package v1alpha1
