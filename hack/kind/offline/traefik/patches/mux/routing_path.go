package mux

// What Traefik's fork of this module adds. Only rules in the syntax of Traefik v2, which ingresses don't make, need it
// to do more than this.

type routingPathKey struct{}

// RoutingPathKey is the context key of the decoded path that Traefik's rules match.
var RoutingPathKey = routingPathKey{}

// UseRoutingPath changes nothing.
func (r *Router) UseRoutingPath() *Router { return r }
