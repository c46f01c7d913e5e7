package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/postgres"
)

// accountVerbs lists what can be done with accounts.
var accountVerbs = []command{
	{"list", "list the accounts", listAccounts},
	{"revoke", "end accounts, for good: they order and revoke nothing any more, and their certificates stay", revokeAccounts},
}

// accountRow is what is told of an account.
type accountRow struct {
	ID              string             `json:"id"`
	Status          acme.AccountStatus `json:"status"`
	CreatedAt       time.Time          `json:"createdAt"`
	ExternalAccount string             `json:"externalAccount,omitempty"`
	Contact         []string           `json:"contact,omitempty"`
	// KeyThumbprint is that of RFC 7638.
	KeyThumbprint string `json:"keyThumbprint"`
}

// cells returns the row of a table.
func (r accountRow) cells() []string {
	return []string{r.ID, string(r.Status), stamp(r.CreatedAt), r.ExternalAccount, strings.Join(r.Contact, ","), r.KeyThumbprint}
}

// listAccounts prints the accounts in the order in which they were made.
func listAccounts(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var database databaseFlags
	database.add(flags)
	status := flags.String("status", "", "only those with this `status`: valid, deactivated (by the client), revoked (by the authority)")
	format := formatFlag(flags)
	if err := parse(flags, args); err != nil {
		return err
	}
	switch acme.AccountStatus(*status) {
	case "", acme.AccountValid, acme.AccountDeactivated, acme.AccountRevoked:
	default:
		return fmt.Errorf("--status %q: want valid, deactivated or revoked", *status)
	}
	out, err := newPrinter(os.Stdout, *format, "ID", "STATUS", "CREATED", "EXTERNAL ACCOUNT", "CONTACT", "KEY THUMBPRINT")
	if err != nil {
		return err
	}
	store, err := database.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	for a, err := range store.Accounts(ctx) {
		if err != nil {
			return err
		}
		if *status != "" && a.Status != acme.AccountStatus(*status) {
			continue
		}
		thumbprint, err := acme.ThumbprintOf(a.Key)
		if err != nil {
			return fmt.Errorf("account %s: %w", a.ID, err)
		}
		err = out.print(accountRow{
			ID: a.ID.String(), Status: a.Status, CreatedAt: a.CreatedAt, ExternalAccount: a.ExternalAccountID,
			Contact: a.Contact, KeyThumbprint: thumbprint.String(),
		})
		if err != nil {
			return err
		}
	}
	return out.close()
}

// revokeAccounts ends accounts, as the authority's decision: one that its owner ended is
// deactivated (RFC 8555 §7.1.2). It ends with the first that cannot be, but for those that
// have ended already.
func revokeAccounts(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var database databaseFlags
	database.add(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name the accounts by their IDs, as `acmeserver accounts list` does")
	}
	ids := make([]acme.ID, flags.NArg())
	for i, text := range flags.Args() {
		var err error
		if ids[i], err = acme.ParseID(text); err != nil {
			return fmt.Errorf("account %q: %w", text, err)
		}
	}
	store, err := database.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	for _, id := range ids {
		if err := revokeAccount(ctx, store, id); err != nil {
			return err
		}
	}
	return nil
}

// revokeAccount ends one account and says so.
func revokeAccount(ctx context.Context, store *postgres.Store, id acme.ID) error {
	outcome := "revoked now; its certificates are not: acmeserver certificates revoke --account " + id.String() + " --dry-run"
	_, err := store.RevokeAccount(ctx, id)
	if ended, ok := errors.AsType[*acme.StateError](err); ok {
		outcome, err = ended.State+" already", nil
	}
	if err == nil {
		_, err = fmt.Printf("account %s: %s\n", id, outcome)
	}
	return err
}
