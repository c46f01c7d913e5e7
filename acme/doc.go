// Package acme holds the objects of RFC 8555 (accounts, orders, authorizations,
// challenges, certificates, problems) as this project's packages pass them to
// each other. One file per object.
//
// It promises that a value of these types is well formed once its constructor
// or parser returned it: an [Identifier] is normalised, an [ID] is not empty, a
// [Problem] has a type of the one table. It does not know how the objects are
// stored (acme/postgres), transported (acme/server) or configured
// (acme/config), and it has never heard of Kubernetes.
package acme
