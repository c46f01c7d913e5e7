// Package faults is a test: several acmeserver processes share one real Postgres,
// with fsync on, clients sign and send, and then something dies. When it is over,
// the database and what the clients were told are held against each other: the
// invariants of invariants_test.go must hold whatever went wrong.
//
// It promises that a failed request is counted, by what the client saw of it, and
// that a fault which cannot be brought about fails the test and says what is
// missing. It does not know how the server copes: it has nothing of its inside but
// the tables. docs/faults.md has the results; `-long` makes them, `-table` writes
// them there.
package faults
