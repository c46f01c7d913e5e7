package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/issuance"
	"github.com/acme-ca/acme-ca-operator/acme/postgres/postgrestest"
	"github.com/acme-ca/acme-ca-operator/test/load/gauge"
	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// lab is what all servers share: an authority, a Postgres whose commits wait for the
// disk, and the responders of the load.
type lab struct {
	dir        string
	postgres   *postgrestest.Server
	postmaster int // the first process of Postgres
	responders *generator.Responders
	// orders are more than a server is sent on one database in most benches.
	orders *generator.Orders

	root          *x509.Certificate
	rootKey       crypto.Signer
	rootFile      string
	issuerFile    string
	issuerKeyFile string
}

// newLab sets up a lab. close must be called in any case but an error.
func newLab(ctx context.Context) (l *lab, err error) {
	l = new(lab)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return l, fmt.Errorf("directory: %w", err)
	}
	if err := l.makeAuthority(); err != nil {
		return l, err
	}
	if l.responders, err = generator.ServeResponders("127.0.0.1:0", "127.0.0.1:0"); err != nil {
		return l, err
	}
	if l.orders, err = generator.MakeOrders(20000, 1); err != nil {
		return l, err
	}
	if l.postgres, err = postgrestest.Start(ctx, postgrestest.Options{Fsync: true}); err != nil {
		return l, err
	}
	url, _, err := l.postgres.NewDatabase()
	if err != nil {
		return l, err
	}
	l.postmaster, err = gauge.Postmaster(ctx, url)
	return l, err
}

// close ends what runs and removes the files.
func (l *lab) close() error {
	var errs []error
	if l.postgres != nil {
		errs = append(errs, l.postgres.Stop())
	}
	if l.responders != nil {
		errs = append(errs, l.responders.Close())
	}
	if l.dir != "" {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

// makeAuthority makes a root and an intermediate, and leaves them in files.
func (l *lab) makeAuthority() (err error) {
	const lifetime = 10 * 24 * time.Hour
	if l.root, l.rootKey, err = issuance.NewRoot(issuance.RootConfig{CommonName: "bench root", Lifetime: lifetime}); err != nil {
		return err
	}
	issuer, key, err := issuance.NewIntermediate(l.root, l.rootKey, issuance.IntermediateConfig{CommonName: "bench intermediate", Lifetime: lifetime / 2})
	if err != nil {
		return err
	}
	keyPEM, err := issuance.EncodeKey(key)
	if err != nil {
		return err
	}
	l.rootFile, l.issuerFile, l.issuerKeyFile = l.path("root.pem"), l.path("issuer.pem"), l.path("issuer.key")
	return errors.Join(
		write(l.rootFile, issuance.EncodeCertificates(l.root)),
		write(l.issuerFile, issuance.EncodeCertificates(issuer)),
		write(l.issuerKeyFile, keyPEM),
	)
}

// serverCertificate leaves a certificate for 127.0.0.1 and its key in two files, for
// a server that does not make its own.
func (l *lab) serverCertificate(certificateFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("key of a server: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, l.root, key.Public(), l.rootKey)
	if err != nil {
		return fmt.Errorf("certificate of a server: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	keyPEM, err := issuance.EncodeKey(key)
	if err != nil {
		return err
	}
	return errors.Join(write(certificateFile, issuance.EncodeCertificates(certificate)), write(keyFile, keyPEM))
}

// roots has the lab's root only.
func (l *lab) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(l.root)
	return pool
}

// path returns the path of a file of the lab.
func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// build compiles a program of a module of this repository, and returns its path.
func (l *lab) build(ctx context.Context, name, module, program string) (string, error) {
	path := l.path(name)
	cmd := exec.CommandContext(ctx, "go", "build", "-C", module, "-o", path, program) //nolint:gosec // the arguments are ours
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// write leaves a file that only this user may read.
func write(path string, content []byte) error { return os.WriteFile(path, content, 0o600) }

// writeJSON leaves a file in JSON.
func writeJSON(path string, v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return write(path, content)
}
