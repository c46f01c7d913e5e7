// Package controllers brings the cluster to what an AcmeServer asks for, and its
// status to what was found.
//
// It promises that a reconcile may end between any two lines and be begun anew,
// by this operator or by another; that what cannot be made again (keys,
// passwords, volumes) is never overwritten or deleted unless the AcmeServer says
// so; and that a reconcile of what is as it should be writes nothing. What the
// objects look like is decided by controllers/render.
package controllers
