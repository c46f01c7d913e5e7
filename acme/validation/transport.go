package validation

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// maxHeader bounds the head of an answer, where Go's default is a megabyte.
const maxHeader = 16 << 10

// transport returns one for a single exchange over conn. It has no proxy, keeps
// no connection, unpacks nothing and speaks HTTP/1.1 only. No certificate is
// verified: who asks for one has none yet, and http proves no less (RFC 8555 §8.3).
func transport(conn net.Conn) *http.Transport {
	unused := make(chan net.Conn, 1)
	unused <- &turnTaking{Conn: conn, spoke: make(chan struct{})}
	return &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case conn := <-unused:
				return conn, nil
			default:
				return nil, errors.New("the connection was used")
			}
		},
		Proxy:                  nil,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // RFC 8555 §8.3: who asks for a certificate has none
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// turnTaking is a connection on which nothing is read before something was
// written. A transport reads ahead, and what a peer says unasked it would put
// into the process's log.
type turnTaking struct {
	net.Conn
	once  sync.Once
	spoke chan struct{} // closed by the first Write, or Close
}

// Read waits for the first Write.
func (c *turnTaking) Read(p []byte) (int, error) {
	<-c.spoke
	return c.Conn.Read(p)
}

// Write lets Read go on.
func (c *turnTaking) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.once.Do(func() { close(c.spoke) })
	return n, err
}

// Close ends a Read that waits.
func (c *turnTaking) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.spoke) })
	return err
}

// problemOf tells an error of TLS from one of what carries it.
func problemOf(err error) acme.ProblemType {
	// The alerts of crypto/tls have no exported type, but all begin like this.
	if strings.Contains(err.Error(), "tls: ") {
		return acme.TLS
	}
	return acme.Connection
}
