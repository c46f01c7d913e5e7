//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
	"github.com/acme-ca/acme-ca-operator/test/invariants"
)

// trafficClients is how many clients order certificates at once. Half of them speak
// HTTP/2.
const trafficClients = 4

// traffic is clients from outside the cluster that order one certificate after the
// other through a server's Service, and keep their connections as long as they may.
type traffic struct {
	stop    chan struct{}
	running sync.WaitGroup
	began   time.Time
	answers answers

	mu         sync.Mutex
	requests   int
	deliveries []invariants.Delivery
	failures   []string
}

// startTraffic starts clients of a server that trusts its accounts and whose Service
// has a port on the node.
func (n *namespace) startTraffic(t *testing.T, server *v1alpha1.AcmeServer) *traffic {
	t.Helper()
	address := n.nodePort(t, server)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(n.issuer(t, server).Spec.ACME.CABundle) {
		t.Fatal("the ClusterIssuer has no caBundle")
	}
	f := &traffic{stop: make(chan struct{}), began: time.Now()}
	for i := range trafficClients + 1 {
		transport := &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			},
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: i%2 == 0,
		}
		t.Cleanup(transport.CloseIdleConnections)
		seen := &http.Client{Transport: &witness{RoundTripper: transport, answers: &f.answers}, Timeout: time.Minute}
		c, err := acmetest.Dial(t.Context(), seen, server.Status.DirectoryURL, acmetest.NewKey(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.NewAccount(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		next := func(number int) { f.order(t.Context(), c, fmt.Sprintf("n%d.c%d.example", number, i)) }
		if i == trafficClients {
			next = func(number int) { f.take(t.Context(), c, fmt.Sprintf("n%d.greedy.example", number)) }
		}
		f.running.Go(func() {
			for number := 0; ; number++ {
				select {
				case <-f.stop:
					return
				default:
					next(number)
				}
			}
		})
	}
	return f
}

// mostAtOnce is how many orders an account of the traffic may have at once.
const mostAtOnce = 50

// take makes one more order that it leaves, where it may.
func (f *traffic) take(ctx context.Context, c *acmetest.Client, name string) {
	answer, err := c.Post(ctx, c.Directory.NewOrder, map[string]any{"identifiers": []acme.Identifier{{Type: acme.DNS, Value: name}}})
	switch {
	case err != nil:
		f.fail("of the greedy: " + err.Error())
	case answer.Problem != nil && answer.Problem.Type == acme.RateLimited:
		<-time.After(100 * time.Millisecond)
	case answer.Err() != nil:
		f.fail("of the greedy: " + answer.Err().Error())
	}
}

// nodePort returns the address of a server's Service from outside the cluster.
func (n *namespace) nodePort(t *testing.T, server *v1alpha1.AcmeServer) string {
	t.Helper()
	var nodes corev1.NodeList
	if err := n.client.List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	var service corev1.Service
	if err := n.client.Get(t.Context(), client.ObjectKey{Namespace: n.name, Name: render.ServerName(server)}, &service); err != nil {
		t.Fatal(err)
	}
	for _, address := range nodes.Items[0].Status.Addresses {
		for _, port := range service.Spec.Ports {
			if address.Type == corev1.NodeInternalIP && port.Port == 443 && port.NodePort != 0 {
				return net.JoinHostPort(address.Address, strconv.Itoa(int(port.NodePort)))
			}
		}
	}
	t.Fatal("the Service has no port 443 on the node")
	return ""
}

// order gets a certificate; what fails is noted and tried again.
func (f *traffic) order(ctx context.Context, c *acmetest.Client, name string) {
	var o acmetest.Order
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // never fails (crypto/rand)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		panic(err)
	}
	f.ask(ctx, c, c.Directory.NewOrder, map[string]any{"identifiers": []acme.Identifier{{Type: acme.DNS, Value: name}}}, &o)
	f.ask(ctx, c, o.Finalize, map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)}, &o)
	if o.Status != acme.OrderValid {
		f.fail(fmt.Sprintf("finalize: the order is %s", o.Status))
		return
	}
	block, _ := pem.Decode(f.ask(ctx, c, o.Certificate, nil, nil))
	if block == nil {
		f.fail("certificate: no PEM at " + o.Certificate)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deliveries = append(f.deliveries, invariants.Delivery{URL: o.Certificate, DER: block.Bytes})
}

// ask sends a request until it is answered with what was asked for, or ctx ends.
func (f *traffic) ask(ctx context.Context, c *acmetest.Client, url string, payload, v any) (body []byte) {
	for ctx.Err() == nil {
		answer, err := c.Post(ctx, url, payload)
		if err == nil {
			err = answer.Err()
		}
		f.mu.Lock()
		f.requests++
		f.mu.Unlock()
		if err == nil && v != nil {
			err = answer.Decode(v)
		}
		if err == nil {
			return answer.Body
		}
		f.fail(err.Error())
		<-time.After(100 * time.Millisecond)
	}
	return nil
}

// fail notes what a client did not get.
func (f *traffic) fail(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, what)
}

// pass lets some certificates be issued, so that it is known that they can be.
func (f *traffic) pass(t *testing.T) {
	t.Helper()
	const enough = 50
	count := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.deliveries)
	}
	before := count()
	await(t, "certificates are issued", func(context.Context) error {
		if now := count(); now-before < enough {
			return fmt.Errorf("%d of %d", now-before, enough)
		}
		return nil
	})
}

// end ends the traffic, of which no request may have failed, and logs its row of
// docs/faults.md.
func (f *traffic) end(t *testing.T, fault string) {
	t.Helper()
	close(f.stop)
	f.running.Wait()
	for _, failure := range f.failures {
		t.Errorf("a request failed: %s", failure)
	}
	t.Logf("| %.0f requests/s | %s | %d | %d | %d |",
		float64(f.requests)/time.Since(f.began).Seconds(), fault, f.requests, len(f.failures), len(f.deliveries))
}
