// Package validation proves that an account controls an identifier, by the
// challenges of RFC 8555 §8, RFC 8737 and RFC 8738, and those of the drafts
// acme-dns-account-label and acme-dns-persist.
//
// It promises that
//
//   - a validation that was leased is attempted, and its result recorded, or the
//     lease is given back or runs out, after which any replica goes on with it;
//   - a peer is dialled at an address that the network policy allows, and at that
//     very address: names are resolved once for each connection, by this package;
//   - nothing a peer does costs more than one attempt's time (10 seconds) and a
//     few kilobytes;
//   - where the authority has a name, CAA records are held against every proof
//     (RFC 8659, RFC 8657), and a lookup of them that has no answer forbids;
//   - a [acme.Problem] says what was found, and repeats of what peers sent only a
//     bounded and escaped part.
//
// It does not know where validations are kept (a [Queue] does), who may order
// what, or what follows from a challenge that is valid.
//
// # Names
//
// Names are absolute. The search list of /etc/resolv.conf is not applied: with
// the one that Kubernetes writes, example.com would first be looked for as
// example.com.svc.cluster.local, which is the service "example" of whoever made
// the namespace "com". Only names below "svc" are completed by the cluster's
// domain, where resolv.conf tells it: web.shop.svc means one service, seen from
// whichever namespace.
package validation
