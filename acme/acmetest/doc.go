// Package acmetest is the kit that this project, and anyone else, tests ACME
// software with: a client that misbehaves on demand, a DNS server and challenge
// responders on loopback, a store in memory, the suite that every store must pass,
// and the one that every ACME server should ([TestRFC]).
//
// It promises nothing about speed or scale, and keeps no state but in memory.
package acmetest
