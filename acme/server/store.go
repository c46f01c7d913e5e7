package server

import (
	"context"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Store keeps the objects. Each method is one transaction: it happened whole, or
// an error says why not and nothing changed. What a method needs of an object's
// state is checked where it is changed, never before; where the state is another
// it returns an [*acme.StateError]. What is not there, or belongs to another
// account, is [acme.ErrNotFound]. A store that cannot be asked returns
// [acme.ErrUnavailable]. Reads see the caller's own writes.
//
// What a method is paid for by, it takes with what it does, exactly once and by the
// store's clock; where one of the spends is refused the error is an
// [*acme.LimitError], nothing is done, and nothing is taken. Of any number of
// callers, on any number of replicas, no more are served than the limit says.
//
// A method that takes a proof takes its nonce, too, unless that was taken before
// ([acme.Proof]), and looks at what is the proof's account's only.
//
// acmetest.TestStore is this contract as a test.
type Store interface {
	NonceStore
	AccountStore
	OrderStore
	AuthorizationStore
	CertificateStore
	// Ping asks whether requests can be served now.
	Ping(ctx context.Context) error
}

// NonceStore redeems nonces; sealing one asks nothing of it.
type NonceStore interface {
	// RedeemNonce takes a nonce, once: [acme.ErrNonceUsed] where it was taken
	// before or has expired, [acme.ErrNonceKeyGone] where its key is no more.
	RedeemNonce(ctx context.Context, n acme.Nonce) error
	// Authenticate redeems a nonce and reads an account, in one round trip. The
	// nonce is taken whether or not there is such an account ([acme.ErrNotFound]).
	Authenticate(ctx context.Context, n acme.Nonce, account acme.ID) (*acme.Account, error)
}

// AccountStore keeps accounts (RFC 8555 §7.3).
type AccountStore interface {
	// CreateAccount adds a, paid for by spends, or returns the account that has its
	// key already, for which nothing is spent.
	CreateAccount(ctx context.Context, a *acme.Account, spends []acme.Spend) (account *acme.Account, created bool, quotas []acme.Quota, err error)
	AccountByKey(ctx context.Context, key acme.Thumbprint) (*acme.Account, error)
	// UpdateContact replaces the contacts of a valid account.
	UpdateContact(ctx context.Context, account acme.ID, contact []string) (*acme.Account, error)
	// ChangeKey replaces the key of a valid account whose key is the old one (RFC
	// 8555 §7.3.5). Where another account has the new key, the error is
	// [acme.ErrKeyInUse] and the account returned is that one.
	ChangeKey(ctx context.Context, account acme.ID, old acme.Thumbprint, key *jose.JSONWebKey, spends []acme.Spend) (*acme.Account, error)
	// DeactivateAccount ends a valid account and makes its unfinished orders
	// invalid (RFC 8555 §7.3.6).
	DeactivateAccount(ctx context.Context, account acme.ID) (*acme.Account, error)
}

// OrderStore keeps orders (RFC 8555 §7.4).
type OrderStore interface {
	// CreateOrder adds an order with the authorizations made for it. Those that it
	// names and that are not among them are used again: control was proved for each,
	// or it is a StateError of the authorization. An order that replaces a
	// certificate for which there is such an order already, which is not invalid, is
	// a StateError of the certificate (RFC 9773 §5).
	CreateOrder(ctx context.Context, by *acme.Proof, o *acme.Order, authorizations []*acme.Authorization, spends []acme.Spend) ([]acme.Quota, error)
	// Order reads an order of an account, and whether it is Validating.
	Order(ctx context.Context, by *acme.Proof, order acme.ID) (*acme.Order, error)
	// UnfinishedOrders lists the pending and ready orders of an account, by ID, that
	// come after the given one (RFC 8555 §7.1.2.1).
	UnfinishedOrders(ctx context.Context, account, after acme.ID, limit int) ([]acme.ID, error)
	// FinalizeOrder takes a ready order that has not expired to valid, with the
	// certificate that issue returns, and of any number of callers one does. What issue
	// made where another was faster, or where the order is found not to be finalized
	// after all, is recorded nowhere and given to nobody. An order that is valid
	// already is returned as it is, and issue is not called. Where f asks for a proof
	// of control and there was none, the StateError says [acme.OrderUnproved]. Where a
	// key with the thumbprint of f is an account's, the error is [acme.ErrKeyInUse]. An
	// error of issue is returned as it is and leaves the order ready.
	FinalizeOrder(ctx context.Context, by *acme.Proof, f acme.Finalization, issue acme.IssueFunc) (*acme.Order, error)
}

// AuthorizationStore keeps authorizations, their challenges and the queue of
// validations (RFC 8555 §7.5).
type AuthorizationStore interface {
	// CreateAuthorization adds a pre-authorization of a valid account (RFC 8555 §7.4.1).
	CreateAuthorization(ctx context.Context, a *acme.Authorization, spends []acme.Spend) ([]acme.Quota, error)
	// ValidAuthorizations returns the valid authorizations of an account for the
	// identifiers that were made after a time and last until another: at most one
	// for each, the one that lasts longest. Where proved is true, those that are valid
	// because the account was trusted are none.
	ValidAuthorizations(ctx context.Context, account acme.ID, identifiers []acme.Identifier, madeAfter, lastUntil time.Time, proved bool) ([]*acme.Authorization, error)
	Authorization(ctx context.Context, by *acme.Proof, authorization acme.ID) (*acme.Authorization, error)
	// OrderAuthorizations returns an order of an account with those of its
	// authorizations that are kept.
	OrderAuthorizations(ctx context.Context, by *acme.Proof, order acme.ID) (*acme.Order, []*acme.Authorization, error)
	// Prove has a challenge attempted that nobody has responded to, as far as the store
	// knows without a look, and records a proof: the challenge and its authorization are
	// valid, and the order ready once all it needs are. It returns nil where there is no
	// proof, or the authorization is not as it was: then StartValidation is to be asked.
	Prove(ctx context.Context, by *acme.Proof, authorization acme.ID, t acme.ChallengeType, prove acme.ProveFunc) (*acme.Authorization, error)
	// StartValidation takes a challenge of a pending authorization from pending to
	// processing and leases the validation to the caller for the given time. Where
	// the challenge is past pending it returns the authorization as it is and no
	// validation; where another challenge of it is being attempted, a StateError.
	// Every call for a pending authorization owes the spends.
	StartValidation(ctx context.Context, by *acme.Proof, authorization acme.ID, t acme.ChallengeType, lease time.Duration, spends []acme.Spend) (*acme.Authorization, *acme.Validation, error)
	// DeactivateAuthorization gives up a pending or valid authorization; orders
	// that need it and are not finished become invalid (RFC 8555 §7.5.2).
	DeactivateAuthorization(ctx context.Context, account, authorization acme.ID) (*acme.Authorization, error)
}

// CertificateStore reads what FinalizeOrder recorded, and revokes it.
type CertificateStore interface {
	// CertificateBySerial reads a certificate of whichever account.
	CertificateBySerial(ctx context.Context, serial acme.Serial) (*acme.Certificate, error)
	// RevokeCertificate revokes a certificate, once.
	RevokeCertificate(ctx context.Context, certificate acme.ID, reason int) error
	// Revocations returns what a CRL of an issuer lists now.
	Revocations(ctx context.Context, issuer acme.IssuerID) (acme.RevocationState, error)
	// SaveCRL keeps the last CRL of an issuer, for when its key is gone; one that is
	// older than that kept changes nothing.
	SaveCRL(ctx context.Context, issuer acme.IssuerID, crl acme.CRL) error
	// CRL returns the CRL kept.
	CRL(ctx context.Context, issuer acme.IssuerID) (acme.CRL, error)
	Certificate(ctx context.Context, by *acme.Proof, certificate acme.ID) (*acme.Certificate, error)
	// Issuer returns an issuer with its chains, which change only where a server
	// starts with a renewed certificate of it.
	Issuer(ctx context.Context, id acme.IssuerID) (*acme.Issuer, error)
}

// Nonces seals and opens nonces (acme/nonce). Neither asks the store.
type Nonces interface {
	Seal() (string, error)
	// Open returns an error for whatever this service did not seal.
	Open(nonce string) (acme.Nonce, error)
	// Refresh asks for the keys anew, after [acme.ErrNonceKeyGone].
	Refresh(ctx context.Context) error
}

// Limits tells what a request owes by the policy in force (acme/ratelimit). It
// takes nothing: the store does.
type Limits interface {
	// NewOrder returns what an order owes; replaced is the certificate that it renews
	// by replacing it, zero where it does not.
	NewOrder(account acme.ID, identifiers []acme.Identifier, replaced acme.Renewal) []acme.Spend
	// NewAuthorization returns what a pre-authorization owes.
	NewAuthorization(account acme.ID, identifier acme.Identifier) []acme.Spend
	NewAccount(client netip.Addr) []acme.Spend
	KeyChange(account acme.ID) []acme.Spend
	ChallengeResponse(authorization acme.ID, t acme.ChallengeType) []acme.Spend
}

// FloodGuard holds back floods of requests from one address, before anything of
// them is read (acme/ratelimit).
type FloodGuard interface {
	// Admit takes a request, and returns 0, or when another would be taken; dry says
	// that it is to be served all the same.
	Admit(client netip.Addr, now time.Time) (wait time.Duration, dry bool)
}

// Validator proves challenges (acme/validation).
type Validator interface {
	// Prove is an [acme.ProveFunc] that takes a tenth of a second at most.
	Prove(ctx context.Context, v *acme.Validation) bool
	// Validate takes over a validation that StartValidation leased, and waits for
	// its result until ctx ends; the work goes on after that. It reports false
	// where there is no result yet.
	Validate(ctx context.Context, v *acme.Validation) (acme.Challenge, bool)
}

// CAAChecker reads CAA records (acme/validation), which each proof of control was
// held against when it was made.
type CAAChecker interface {
	// CheckCAA returns why the records forbid, now, that a certificate is issued for
	// an identifier to an account that proved control of it by a challenge type, ""
	// for one that is trusted without; nil where they do not.
	CheckCAA(ctx context.Context, account acme.ID, identifier acme.Identifier, t acme.ChallengeType) *acme.Problem
}

// Issuer makes certificates (acme/issuance).
type Issuer interface {
	// CheckRequest parses a CSR in DER and checks what can be without knowing the
	// order; the error is a badCSR [acme.Problem].
	CheckRequest(der []byte) (*x509.CertificateRequest, error)
	// Issue signs a certificate for an order with the key of a checked request, which
	// must name the order's identifiers, or the error is a badCSR problem (RFC 8555 §7.4).
	Issue(ctx context.Context, o *acme.Order, request *x509.CertificateRequest) (*acme.Certificate, error)
	// ID names the issuing certificate.
	ID() acme.IssuerID
	// SignCRL signs a CRL of the issuing certificate.
	SignCRL(ctx context.Context, s acme.RevocationState) (acme.CRL, error)
	// Profiles returns the description of each profile by its name.
	Profiles() map[string]string
	// DefaultProfile names the profile of an order that asks for none.
	DefaultProfile() string
}
