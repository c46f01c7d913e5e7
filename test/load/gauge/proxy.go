package gauge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// Proxy stands before a Postgres and counts round trips: how often a client waits
// for it. Both ends are Unix sockets, and no connection is encrypted.
type Proxy struct {
	dir        string
	target     string
	url        url.URL
	listener   net.Listener
	roundTrips atomic.Int64

	mu     sync.Mutex
	open   map[net.Conn]struct{} // nil once closed
	copies sync.WaitGroup
}

// socketName is what Postgres's socket is called in its directory.
const socketName = ".s.PGSQL.5432"

// StartProxy returns a proxy before the Postgres of a URL with a directory of a
// socket as its host, until it is closed.
func StartProxy(ctx context.Context, rawURL string) (*Proxy, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("URL of Postgres: %w", err)
	}
	query := u.Query()
	if query.Get("host") == "" {
		return nil, errors.New("URL of Postgres: it has no directory of a socket (?host=)")
	}
	p := &Proxy{target: filepath.Join(query.Get("host"), socketName), url: *u, open: map[net.Conn]struct{}{}}
	if p.dir, err = os.MkdirTemp("", "proxy"); err != nil {
		return nil, fmt.Errorf("directory of the proxy: %w", err)
	}
	if p.listener, err = new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(p.dir, socketName)); err != nil {
		return nil, errors.Join(fmt.Errorf("proxy: %w", err), os.RemoveAll(p.dir))
	}
	query.Set("host", p.dir)
	query.Set("sslmode", "disable")
	p.url.RawQuery = query.Encode()
	p.copies.Go(func() { p.accept(ctx) })
	return p, nil
}

// URL is that of the same database, by the proxy.
func (p *Proxy) URL() string { return p.url.String() }

// RoundTrips is how many there were so far.
func (p *Proxy) RoundTrips() int64 { return p.roundTrips.Load() }

// Close ends the proxy and its connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	for conn := range p.open {
		_ = conn.Close()
	}
	p.open = nil
	p.mu.Unlock()
	p.copies.Wait()
	return errors.Join(err, os.RemoveAll(p.dir))
}

// accept takes connections until the listener is closed; they outlive ctx.
func (p *Proxy) accept(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(ctx, "unix", p.target)
		if err != nil {
			_ = client.Close() // the client sees that there is no server
			continue
		}
		if !p.keep(client, server) {
			return
		}
		p.copies.Go(func() {
			defer p.drop(client, server)
			_ = p.count(server, client) // ends when either end does
		})
		p.copies.Go(func() {
			defer p.drop(client, server)
			_, _ = io.Copy(client, server)
		})
	}
}

// keep remembers connections to close, and reports false where it is too late for that.
func (p *Proxy) keep(connections ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range connections {
		if p.open == nil {
			_ = conn.Close()
			continue
		}
		p.open[conn] = struct{}{}
	}
	return p.open != nil
}

// drop closes connections.
func (p *Proxy) drop(connections ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range connections {
		_ = conn.Close()
		delete(p.open, conn)
	}
}

// The messages that a client waits for an answer to (Postgres manual, "Message
// Formats"): the end of a pipeline, and a simple query.
const (
	messageSync  = 'S'
	messageQuery = 'Q'
)

// count passes on what a client sends, and counts.
func (p *Proxy) count(server io.Writer, client io.Reader) error {
	// The first message has no type.
	if err := passMessage(server, client, nil); err != nil {
		return err
	}
	kind := make([]byte, 1)
	for {
		if _, err := io.ReadFull(client, kind); err != nil {
			return err
		}
		if kind[0] == messageSync || kind[0] == messageQuery {
			p.roundTrips.Add(1)
		}
		if err := passMessage(server, client, kind); err != nil {
			return err
		}
	}
}

// passMessage passes on a message whose type was read already.
func passMessage(server io.Writer, client io.Reader, kind []byte) error {
	var size [4]byte // with itself, without the type
	if _, err := io.ReadFull(client, size[:]); err != nil {
		return err
	}
	if _, err := server.Write(append(slices.Clip(kind), size[:]...)); err != nil {
		return err
	}
	_, err := io.CopyN(server, client, int64(binary.BigEndian.Uint32(size[:]))-int64(len(size)))
	return err
}
