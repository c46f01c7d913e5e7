package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestClientsAreToldToLeaveWhileTheServerStillAnswers(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Only for its certificate, and the client that trusts it.
			tls := httptest.NewUnstartedServer(http.NotFoundHandler())
			tls.EnableHTTP2 = http2
			tls.StartTLS()
			defer tls.Close()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			draining, drained := make(chan struct{}), make(chan error)
			ctx, stop := context.WithCancel(t.Context())
			go func() {
				drained <- serveFaces(ctx, slog.New(slog.DiscardHandler), shutdown{
					drain: func() { close(draining) }, delay: 10 * time.Second, timeout: time.Minute,
				}, []face{{name: "test", listener: listener, tls: tls.TLS, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = w.Write([]byte(r.RemoteAddr))
				})}})
			}()
			client := tls.Client()
			ask := func() string {
				resp, err := client.Get("https://" + listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				from := make([]byte, 64)
				n, _ := resp.Body.Read(from)
				return string(from[:n])
			}
			first := ask()
			if again := ask(); again != first {
				t.Errorf("before: connections %s and %s; want one", first, again)
			}
			stop()
			<-draining
			last := ask() // the answer says that there is to be no other on its connection
			if next := ask(); next == last {
				t.Errorf("the connection %s was kept", last)
			}
			if err := <-drained; err != nil {
				t.Error(err)
			}
		})
	}
}
