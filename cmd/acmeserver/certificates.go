package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
)

// certificateVerbs lists what can be done with certificates.
var certificateVerbs = []command{
	{"list", "list what was issued", listCertificates},
	{"revoke", "revoke certificates, for good", revokeCertificates},
}

// certificateRow is what is told of a certificate.
type certificateRow struct {
	Serial           string    `json:"serial"`
	Account          string    `json:"account"`
	Names            []string  `json:"names"`
	IssuedAt         time.Time `json:"issuedAt"`
	NotAfter         time.Time `json:"notAfter"`
	RevokedAt        time.Time `json:"revokedAt,omitzero"`
	RevocationReason string    `json:"revocationReason,omitempty"`
	PEM              string    `json:"pem"`
}

// cells returns the row of a table.
func (r certificateRow) cells() []string {
	return []string{r.Serial, r.Account, stamp(r.IssuedAt), stamp(r.NotAfter), stamp(r.RevokedAt), strings.Join(r.Names, ",")}
}

// issued is a certificate with its names.
type issued struct {
	*acme.Certificate
	names []string
}

// row returns what is told of the certificate.
func (c issued) row() certificateRow {
	r := certificateRow{
		Serial: c.Serial.String(), Account: c.AccountID.String(), Names: c.names, IssuedAt: c.IssuedAt, NotAfter: c.NotAfter,
		RevokedAt: c.RevokedAt, PEM: c.pem(),
	}
	if !c.RevokedAt.IsZero() {
		r.RevocationReason = acme.RevocationReasons[c.RevocationReason]
	}
	return r
}

// pem returns the certificate in PEM.
func (c issued) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER}))
}

// selection says which certificates are meant.
type selection struct {
	account acme.ID       // zero: of any
	name    string        // "": whatever their names
	since   time.Duration // 0: whenever they were issued
	// revoked says that it is only those which are revoked; expired, that those are
	// meant, too, which have expired.
	revoked, expired bool
}

// addSubject adds the flags that say whose certificates, or for what, are meant.
func (s *selection) addSubject(flags *flag.FlagSet) {
	flags.Func("account", "only those of the account with this `ID`", func(text string) (err error) {
		if s.account, err = acme.ParseID(text); err == nil && s.account.IsZero() {
			err = errors.New("no account has this ID")
		}
		return err
	})
	flags.Func("name", "only those for this `name`: a domain name, with *. where it is a wildcard, or an IP address", func(text string) error {
		if text == "" { // of a variable of the shell that is not set
			return errors.New("want a name")
		}
		s.name = strings.ToLower(text)
		return nil
	})
}

// has reports whether a certificate is meant.
func (s *selection) has(c issued, now time.Time) bool {
	return (s.account.IsZero() || c.AccountID == s.account) &&
		(s.name == "" || slices.Contains(c.names, s.name)) &&
		(s.since == 0 || c.IssuedAt.After(now.Add(-s.since))) &&
		(s.expired || c.NotAfter.After(now)) &&
		(!s.revoked || !c.RevokedAt.IsZero())
}

// of yields the certificates of a store that are meant. It reads all that are kept.
func (s *selection) of(ctx context.Context, store *postgres.Store) iter.Seq2[issued, error] {
	return func(yield func(issued, error) bool) {
		now := time.Now()
		for kept, err := range store.Certificates(ctx) {
			c := issued{Certificate: kept}
			if err == nil {
				c.names, err = certifiedNames(kept)
			}
			if err != nil {
				yield(c, err)
				return
			}
			if s.has(c, now) && !yield(c, nil) {
				return
			}
		}
	}
}

// certifiedNames lists the names in a certificate.
func certifiedNames(c *acme.Certificate) ([]string, error) {
	parsed, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", c.Serial, err)
	}
	names := slices.Clone(parsed.DNSNames)
	for _, address := range parsed.IPAddresses {
		names = append(names, address.String())
	}
	return names, nil
}

// listCertificates prints certificates in the order in which they were ordered.
func listCertificates(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var database databaseFlags
	var which selection
	database.add(flags)
	which.addSubject(flags)
	flags.DurationVar(&which.since, "since", 0, "only those that were issued in the last `time`, such as 24h")
	flags.BoolVar(&which.revoked, "revoked", false, "only those that are revoked")
	flags.BoolVar(&which.expired, "expired", false, "also those that have expired and are kept still")
	format := formatFlag(flags, asPEM)
	if err := parse(flags, args); err != nil {
		return err
	}
	show := func(c issued) error { _, err := fmt.Print(c.pem()); return err }
	end := func() error { return nil }
	if *format != asPEM {
		out, err := newPrinter(os.Stdout, *format, "SERIAL", "ACCOUNT", "ISSUED", "EXPIRES", "REVOKED", "NAMES")
		if err != nil {
			return err
		}
		show, end = func(c issued) error { return out.print(c.row()) }, out.close
	}
	store, err := database.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	for c, err := range which.of(ctx, store) {
		if err != nil {
			return err
		}
		if err := show(c); err != nil {
			return err
		}
	}
	return end()
}

// revokeCertificates revokes certificates by their serial numbers, or all of a subject
// that have not expired. Servers put them on their CRLs, and ask for their renewal,
// as they do what clients revoke.
func revokeCertificates(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var database databaseFlags
	var which selection
	database.add(flags)
	which.addSubject(flags)
	reason := 0
	flags.Func("reason", "the `reason`, which CRLs tell: "+strings.Join(slices.Sorted(maps.Values(acme.RevocationReasons)), ", ")+" (default unspecified)", func(text string) (err error) {
		reason, err = parseReason(text)
		return err
	})
	dryRun := flags.Bool("dry-run", false, "say what would be revoked, and revoke nothing")
	expected := flags.Int("count", 0, "with --account or --name: how many `certificates` there are to revoke, as --dry-run says; where there are others meanwhile, none is revoked")
	if err := flags.Parse(args); err != nil {
		return err
	}
	serials := make([]acme.Serial, flags.NArg())
	for i, text := range flags.Args() {
		var err error
		if serials[i], err = acme.ParseSerial(text); err != nil {
			return err
		}
	}
	bySubject := which != (selection{})
	switch {
	case bySubject == (len(serials) > 0):
		return errors.New("name the certificates by their serial numbers, or else by --account or --name, or both of these")
	case bySubject && !*dryRun && *expected <= 0:
		return errors.New("revoking is for good: say how many certificates are meant with --count, which --dry-run counts")
	}
	store, err := database.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	r := revocation{ctx: ctx, store: store, reason: reason, dryRun: *dryRun}
	if bySubject {
		return r.revokeSelected(&which, *expected)
	}
	return r.revokeSerials(serials)
}

// parseReason returns the CRLReason of a name.
func parseReason(text string) (int, error) {
	for reason, name := range acme.RevocationReasons {
		if name == text {
			return reason, nil
		}
	}
	return 0, errors.New("no such reason")
}

// revocation revokes certificates of a store, or says which it would.
type revocation struct {
	ctx    context.Context //nolint:containedctx // of one command
	store  *postgres.Store
	reason int
	dryRun bool
}

// revokeSelected revokes all certificates of a selection, if they are as many as
// expected. It goes through them twice, and keeps none: they may be any number. It ends
// with the first that cannot be revoked, as others could hardly be, and may be run again.
func (r *revocation) revokeSelected(which *selection, expected int) error {
	left := func(yield func(issued, error) bool) {
		for c, err := range which.of(r.ctx, r.store) {
			if (err != nil || c.RevokedAt.IsZero()) && !yield(c, err) {
				return
			}
		}
	}
	count := 0
	for c, err := range left {
		if err != nil {
			return err
		}
		if count++; r.dryRun {
			if err := r.revoke(c); err != nil {
				return err
			}
		}
	}
	if r.dryRun {
		_, err := fmt.Printf("to revoke: %d certificates (--count %d)\n", count, count)
		return err
	}
	if count != expected {
		return fmt.Errorf("there are %d certificates to revoke, and not %d: none was revoked; see what they are with --dry-run", count, expected)
	}
	for c, err := range left {
		if err != nil {
			return err
		}
		if err := r.revoke(c); err != nil {
			return err
		}
	}
	return nil
}

// revokeSerials revokes certificates by their serial numbers, those that are known.
func (r *revocation) revokeSerials(serials []acme.Serial) error {
	var unknown []error
	for _, serial := range serials {
		kept, err := r.store.CertificateBySerial(r.ctx, serial)
		if errors.Is(err, acme.ErrNotFound) {
			unknown = append(unknown, err)
			continue
		}
		if err != nil {
			return errors.Join(append(unknown, err)...)
		}
		names, err := certifiedNames(kept)
		if err == nil {
			err = r.revoke(issued{kept, names})
		}
		if err != nil {
			return errors.Join(append(unknown, err)...)
		}
	}
	return errors.Join(unknown...)
}

// revoke revokes one certificate and says so.
func (r *revocation) revoke(c issued) error {
	outcome := "revoked now"
	switch {
	case !c.RevokedAt.IsZero():
		outcome = "revoked already"
	case r.dryRun:
		outcome = "would be revoked"
	default:
		err := r.store.RevokeCertificate(r.ctx, c.ID, r.reason)
		if _, ok := errors.AsType[*acme.StateError](err); ok {
			outcome, err = "revoked already", nil
		}
		if err != nil {
			return err
		}
	}
	_, err := fmt.Printf("certificate %s of account %s for %s: %s\n", c.Serial, c.AccountID, strings.Join(c.names, ", "), outcome)
	return err
}
