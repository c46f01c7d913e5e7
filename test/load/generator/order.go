package generator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// order is one that is ready to be sent.
type order struct {
	newOrder []byte // the payload of newOrder, where it replaces nothing
	finalize []byte // the payload of finalize
	names    []acme.Identifier
}

// newOrderJSON is the payload of newOrder (RFC 8555 §7.4, RFC 9773 §5).
type newOrderJSON struct {
	Identifiers []acme.Identifier `json:"identifiers"`
	Replaces    string            `json:"replaces,omitempty"`
}

// Orders are made up before a load, each with names and a CSR of its own, which takes
// longer than to send them. They are used in turn, and then again. They are safe for
// concurrent use, and several generators may share them, one after the other.
type Orders struct {
	list        []order
	identifiers int
	used        atomic.Uint64
}

// MakeOrders makes n orders for so many names each, which nobody else has. Their
// certificates have one key: making keys is a client's cost that says nothing of the
// server.
func MakeOrders(n, identifiers int) (*Orders, error) {
	if n < 1 || identifiers < 1 || identifiers > maxIdentifiers {
		return nil, fmt.Errorf("%d orders for %d names each; want 1 or more, for 1 to %d", n, identifiers, maxIdentifiers)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the certificates: %w", err)
	}
	run := strings.ToLower(rand.Text()[:8])
	o := &Orders{list: make([]order, n), identifiers: identifiers}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range o.list {
		g.Go(func() (err error) {
			o.list[i], err = makeOrder(key, fmt.Sprintf("%s-%d", run, i), identifiers)
			return err
		})
	}
	return o, g.Wait()
}

// next returns the order whose turn it is.
func (o *Orders) next() *order { return &o.list[(o.used.Add(1)-1)%uint64(len(o.list))] }

// makeOrder makes an order for names that have label in them.
func makeOrder(key *ecdsa.PrivateKey, label string, identifiers int) (order, error) {
	var o order
	names := make([]string, identifiers)
	for i := range names {
		names[i] = fmt.Sprintf("%d.%s.load.test", i, label)
		o.names = append(o.names, acme.Identifier{Type: acme.DNS, Value: names[i]})
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		return order{}, fmt.Errorf("CSR: %w", err)
	}
	if o.newOrder, err = json.Marshal(newOrderJSON{Identifiers: o.names}); err != nil {
		return order{}, err
	}
	o.finalize, err = json.Marshal(map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)})
	return o, err
}
