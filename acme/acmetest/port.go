package acmetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// The ports of [FreeAddress] lie below those which systems take for outgoing
// connections (from 32768 on Linux): nobody else gets one between the moment in which it
// is found free and that in which a server or a client listens on it, or while the
// server that it is for is dead.
const (
	firstPort = 12000
	ports     = 20000
)

// nextPort counts up from anywhere, so that two processes at once seldom meet.
var nextPort = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(rand.Uint32N(ports)) //nolint:gosec // spread, no secret
	return n
}()

// FreeAddress returns an address of 127.0.0.1, with a port that nobody listens on and
// that was not returned before.
func FreeAddress(ctx context.Context) (string, error) {
	for range ports {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+int(nextPort.Add(1)%ports)))
		// Not by listening: a process that is started meanwhile has the socket for a moment more.
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			return address, nil //nolint:nilerr // nobody answers
		}
		_ = c.Close() // somebody answers
	}
	return "", errors.New("no port is free")
}
