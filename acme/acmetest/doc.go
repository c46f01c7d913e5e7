// Package acmetest is the kit that this project, and anyone else, tests ACME
// software with: a client that misbehaves on demand, a DNS server and challenge
// responders on loopback, a store in memory, and the suite that every store must
// pass.
//
// It promises nothing about speed or scale, and keeps no state but in memory.
package acmetest
