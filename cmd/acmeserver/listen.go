package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// The bounds of a connection. A client's whole request is a few kilobytes.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 60 * time.Second // above the timeout of a request
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
)

// face is one listener with its handler.
type face struct {
	name     string // as in the configuration's listen
	address  string
	handler  http.Handler
	tls      *tls.Config  // nil: in the clear
	listener net.Listener // set by listen, or before it
}

// listen opens the faces that are not open yet and have an address.
func listen(ctx context.Context, faces []face) ([]face, error) {
	var open []face
	for _, f := range faces {
		if f.listener == nil && f.address == "" {
			continue
		}
		if f.listener == nil {
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.address)
			if err != nil {
				return nil, fmt.Errorf("listen.%s: %w", f.name, err)
			}
			f.listener = l
		}
		open = append(open, f)
	}
	return open, nil
}

// shutdown says how a server stops: drain is called at once, connections are
// taken for delay more, and requests in flight have timeout to end. A rolling
// update loses no request by it: the endpoints of the Service learn of the end
// while this replica still answers, and clients that keep a connection are told with
// each answer to make another, before it is closed under a request of theirs.
type shutdown struct {
	drain   func() // may be nil
	delay   time.Duration
	timeout time.Duration
}

// serveFaces serves until ctx ends and then stops as s says. An error of one
// face ends all.
func serveFaces(ctx context.Context, log *slog.Logger, s shutdown, faces []face) error {
	g, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	if len(faces) == 0 {
		<-ctx.Done()
		return nil
	}
	servers := make([]*http.Server, len(faces))
	var draining atomic.Bool
	for i, f := range faces {
		srv := &http.Server{
			Handler: closing(&draining, f.handler), TLSConfig: f.tls, MaxHeaderBytes: maxHeaderBytes,
			ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // handshakes that clients break off
		}
		servers[i] = srv
		g.Go(func() error {
			log.Info("listening", "face", f.name, "address", f.listener.Addr().String())
			var err error
			if f.tls != nil {
				err = srv.ServeTLS(f.listener, "", "")
			} else {
				err = srv.Serve(f.listener)
			}
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("%s: %w", f.name, err)
		})
	}
	select {
	case <-ctx.Done():
		log.Info("stopping", "face", faces[0].name, "delay", s.delay.String())
		draining.Store(true)
		if s.drain != nil {
			s.drain()
		}
		select {
		case <-time.After(s.delay):
		case <-failed.Done():
		}
	case <-failed.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	for _, srv := range servers {
		g.Go(func() error {
			err := srv.Shutdown(stopCtx)
			if errors.Is(err, context.DeadlineExceeded) { // what is left has had its time
				return srv.Close()
			}
			return err
		})
	}
	return g.Wait()
}

// closing has a connection closed after each answer while the server drains; HTTP/2
// translates that into GOAWAY (RFC 9113 §6.8).
func closing(draining *atomic.Bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
