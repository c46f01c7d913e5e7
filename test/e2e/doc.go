// Package e2e tests the whole product on a real kind cluster: the images, the
// manifests, the operator, cert-manager's own controllers and an ingress
// controller, with nothing played by anything else.
//
// It promises that each test has a namespace of its own, which enforces the
// restricted pod security standard, and that a test which fails shows what the
// cluster knew. The tests have the build tag e2e, and run on kind only: they
// take cert-manager away and put it back. README.md says how to run one.
package e2e
