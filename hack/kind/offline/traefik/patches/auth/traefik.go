package auth

import "net/http"

// What Traefik's fork of this module adds, for authentication middlewares, which nobody here uses: they refuse.

// CheckSecret matches no password.
func CheckSecret(_, _ string) bool { return false }

// RequireAuthStale asks for authentication, without saying that only the nonce was stale.
func (a *DigestAuth) RequireAuthStale(w http.ResponseWriter, r *http.Request) { a.RequireAuth(w, r) }
