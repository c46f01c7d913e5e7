package generator

import (
	"errors"

	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
)

// Responders prove control of every name: they answer http-01 challenges, and the
// DNS queries that lead the server to them.
type Responders struct {
	HTTP01 *acmetest.HTTP01
	DNS    *acmetest.DNS
}

// ServeResponders returns responders at two addresses (host:port; port 0 stands for
// a free one), which run until they are closed.
func ServeResponders(http01, dns string) (*Responders, error) {
	r := new(Responders)
	var err error
	if r.HTTP01, err = acmetest.ServeHTTP01(http01); err != nil {
		return nil, err
	}
	if r.DNS, err = acmetest.ServeDNS(dns); err != nil {
		return nil, errors.Join(err, r.HTTP01.Close())
	}
	r.DNS.SetDefaultA(r.HTTP01.Address().Addr())
	return r, nil
}

// Close ends the responders.
func (r *Responders) Close() error { return errors.Join(r.HTTP01.Close(), r.DNS.Close()) }
