// Package conformance is a test: foreign ACME clients, written by others and
// unchanged, get certificates from the acmeserver binary, which runs as a process
// of its own. README.md has the table of clients and scenarios.
//
// It promises that whatever it needs and cannot have (a client's program, a
// Postgres) is a failure that names it, never a test that is left out.
package conformance
