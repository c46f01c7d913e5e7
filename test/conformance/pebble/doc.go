// Package pebble runs the suite of acmetest.TestRFC against Pebble, the ACME server
// that Let's Encrypt has its clients tested with. Where both servers answer alike,
// the suite says what the RFC says; every difference is explained in known.go.
//
// It is a Go module of its own, so that Pebble is no dependency of the product.
package pebble
