package generator

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// answerTimeout bounds the wait for an answer.
const answerTimeout = 10 * time.Second

// connection is one connection to the server, kept from request to request, for
// one worker: it is not safe for concurrent use. An [http.Transport] would serve
// as well, and cost a third more, in goroutines that hand each request on.
type connection struct {
	dialer tls.Dialer
	conn   net.Conn // nil while there is none
	reader *bufio.Reader
	writer *bufio.Writer
}

// newConnection returns a connection to whatever host the first request names.
func newConnection(roots *x509.CertPool) *connection {
	return &connection{dialer: tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots, NextProtos: []string{"http/1.1"},
	}}}
}

// RoundTrip implements [http.RoundTripper]. The body of the answer must be closed
// before the next request. A request that a kept connection was closed under is
// sent once more on a new one.
func (c *connection) RoundTrip(req *http.Request) (*http.Response, error) {
	kept := c.conn != nil
	resp, err := c.exchange(req)
	if err != nil && kept && closedByPeer(err) {
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, err = c.exchange(req)
	}
	return resp, err
}

// closedByPeer reports whether an exchange failed as it does where the server has
// closed a connection that it took for idle.
func closedByPeer(err error) bool {
	var network *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) && !network.Timeout()
}

// exchange sends a request and reads the head of its answer.
func (c *connection) exchange(req *http.Request) (*http.Response, error) {
	if err := c.open(req.Context(), req.URL.Host); err != nil {
		return nil, err
	}
	resp, err := c.sendAndReceive(req)
	if err != nil {
		c.close()
		return nil, err
	}
	if resp.Close {
		c.conn = nil // whoever reads the body has it to the end, and nobody the connection
	}
	return resp, nil
}

// sendAndReceive does an exchange on an open connection.
func (c *connection) sendAndReceive(req *http.Request) (*http.Response, error) {
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	if err := req.Write(c.writer); err != nil {
		return nil, err
	}
	if err := c.writer.Flush(); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.reader, req)
}

// open connects, where there is no connection.
func (c *connection) open(ctx context.Context, address string) error {
	if c.conn != nil {
		return nil
	}
	conn, err := c.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	c.conn, c.reader, c.writer = conn, bufio.NewReader(conn), bufio.NewWriter(conn)
	return nil
}

// close ends the connection; the next request makes another.
func (c *connection) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
