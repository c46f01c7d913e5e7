// Package k6 pins the k6 that runs test/load/acme.js. It is a module of its own, so
// that this project does not depend on k6.
package k6
