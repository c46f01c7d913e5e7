package validation

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

const (
	// maxHeader bounds the head of an answer, in bytes, where Go's default is a megabyte.
	maxHeader = 16 << 10
	// maxOverhead bounds what frames the body of an answer: chunks and their sizes.
	maxOverhead = 16 << 10
)

// errLongHeader says that the head of an answer is longer than is read.
var errLongHeader = fmt.Errorf("the header is longer than %d bytes", maxHeader)

// exchange sends a request over conn, by TLS where its URL says https, and returns
// the answer with its body still to be read; until ctx ends. There is one exchange on
// a connection, in HTTP/1.1. An [http.Transport] would want a dialer of its own, hand
// each step to other goroutines (which cost as much as all the rest of a validation),
// read ahead what nobody asked for, and have to be told of proxies, compression and
// HTTP/2 that they are not wanted.
//
// No certificate is verified: who asks for one has none yet, and http proves no less
// (RFC 8555 §8.3).
func exchange(ctx context.Context, conn net.Conn, request *http.Request) (*http.Response, error) {
	if request.URL.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{
			ServerName: request.URL.Hostname(), MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, //nolint:gosec // RFC 8555 §8.3
		})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	request.Close = true
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	bounded := &io.LimitedReader{R: conn, N: maxHeader}
	reader := bufio.NewReader(bounded)
	response, err := readFinal(reader, request)
	switch {
	case err != nil && bounded.N <= 0:
		return nil, errLongHeader
	case err != nil:
		return nil, err
	}
	bounded.N = maxBody + maxOverhead
	return response, nil
}

// readFinal reads the head of an answer, and of those that announce it (RFC 9110 §15.2).
func readFinal(reader *bufio.Reader, request *http.Request) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(reader, request)
		if err != nil || response.StatusCode >= http.StatusOK {
			return response, err
		}
		if response.StatusCode == http.StatusSwitchingProtocols {
			return nil, errors.New("the answer switches to a protocol that was not asked for")
		}
	}
}

// endWith has everything on conn end when ctx does; what is returned undoes it.
func endWith(ctx context.Context, conn net.Conn) func() bool {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// problemOf tells an error of TLS from one of what carries it.
func problemOf(err error) acme.ProblemType {
	// The alerts of crypto/tls have no exported type, but all begin like this.
	if strings.Contains(err.Error(), "tls: ") {
		return acme.TLS
	}
	return acme.Connection
}
