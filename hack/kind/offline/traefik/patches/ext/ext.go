// Package ext is where other builds of Traefik extend its configuration: a module that is not published.
package ext

// HTTP adds nothing to Traefik's dynamic HTTP configuration.
type HTTP struct{}

// Router adds nothing to its routers.
type Router struct{}
