package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// The operator reads which image it runs, and where the Kubernetes API answers.
//
// +kubebuilder:rbac:groups="",resources=pods,verbs=get,namespace=acme-ca-system
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,resourceNames=kubernetes,verbs=get

// newPlatform returns what the operator was started with.
func newPlatform(ctx context.Context, reader client.Reader, o options) (render.Platform, error) {
	p := render.Platform{
		ServerImage: o.serverImage, DatabaseImage: o.databaseImage,
		ClusterDomain: o.clusterDomain, OperatorNamespace: o.namespace,
		CertManagerNamespace: o.certManager, ClusterIssuerNamespaces: split(o.issuers),
	}
	var err error
	if p.ServerImage == "" {
		if p.ServerImage, err = ownImage(ctx, reader, o.namespace, os.Getenv("POD_NAME")); err != nil {
			return render.Platform{}, err
		}
	}
	p.APIServer, err = apiServerAddresses(ctx, reader, os.Getenv("KUBERNETES_SERVICE_HOST"))
	return p, err
}

// ownImage returns the image of the container that the operator runs in: the
// servers run the same.
func ownImage(ctx context.Context, reader client.Reader, namespace, name string) (string, error) {
	if name == "" {
		return "", errors.New("the image of the servers is not known: set --server-image, or POD_NAME to the name of the operator's pod")
	}
	pod := &corev1.Pod{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pod); err != nil {
		return "", fmt.Errorf("the operator's own image: %w", err)
	}
	for _, container := range pod.Spec.Containers {
		if container.Name == "manager" {
			return container.Image, nil
		}
	}
	return "", fmt.Errorf("the operator's own image: pod %s has no container manager; set --server-image", name)
}

// apiServerAddresses returns the addresses of the Kubernetes API that answer on a
// port which validators dial: that of its Service, and those behind it that use
// one of the two.
func apiServerAddresses(ctx context.Context, reader client.Reader, service string) ([]netip.Addr, error) {
	var found []netip.Addr
	add := func(text string) {
		if address, err := netip.ParseAddr(text); err == nil && !slices.Contains(found, address) {
			found = append(found, address)
		}
	}
	add(service)
	slice := &discoveryv1.EndpointSlice{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: "default", Name: "kubernetes"}, slice)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("the addresses of the Kubernetes API: %w", err)
	}
	dialled := slices.ContainsFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool {
		return p.Port != nil && (*p.Port == 80 || *p.Port == 443)
	})
	if dialled {
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				add(address)
			}
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return found, nil
}
