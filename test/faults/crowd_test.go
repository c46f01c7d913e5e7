package faults

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// crowdPerServer is how many requests a crowd has for each replica: more than it works
// on at once.
const crowdPerServer = 700

// pauseInCrowd stops Postgres while many more come than can wait for it.
func pauseInCrowd(t *testing.T, l *load, hold time.Duration) time.Time {
	t.Helper()
	// What the crowd sends is made before: signing is the clients' work.
	c := l.clients[0]
	messages := make([]message, crowdPerServer*len(l.fleet.replicas))
	for i := range messages {
		messages[i] = l.readAccount(t, c)
	}
	var crowd sync.WaitGroup
	client := &http.Client{Transport: replayer{l.recorder}, Timeout: clientTimeout}
	over := stopPostgres(t, l, hold, func() {
		for _, m := range messages {
			crowd.Go(func() { m.send(client) })
		}
	})
	crowd.Wait()
	return over
}

// readAccount returns a signed request for the account of a client.
func (l *load) readAccount(t *testing.T, c *acmetest.Client) message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	nonce, err := c.Nonce(ctx)
	if err != nil {
		t.Fatal(err)
	}
	body, err := (&acmetest.JWS{Key: c.Key, KeyID: c.Account, URL: c.Account, Nonce: nonce}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return message{c.Account, body}
}
