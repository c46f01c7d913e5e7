// Package render makes the Kubernetes objects of an AcmeServer. Every function
// is pure: it has the AcmeServer, what was read for it and what the operator was
// started with, and the same arguments give the same bytes. Golden files show
// what they return.
//
// It does not know what is in the cluster, and neither reads nor writes it
// (controllers does).
package render
