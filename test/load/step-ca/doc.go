// Package stepca pins the step-ca that the benchmark compares with. It is a module of
// its own, so that this project does not depend on step-ca.
package stepca
