package validation_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/acmetest"
	"github.com/acme-ca/acme-ca-operator/acme/validation"
)

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
	metadata  = netip.MustParseAddr("169.254.169.254")
)

// allowLoopback lets validators dial what the tests listen on.
var allowLoopback = validation.Networks{
	Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
}

// outcome is what a worker told its queue of an attempt.
type outcome struct {
	problem *acme.Problem
	// retry says that another attempt was asked for.
	retry bool
}

// queue passes on what it is told, and has nothing to claim.
type queue chan outcome

func (q queue) ClaimValidations(context.Context, int, time.Duration) ([]*acme.Validation, error) {
	return nil, nil
}

func (q queue) RecordValidation(_ context.Context, v *acme.Validation, problem *acme.Problem, _ []acme.Spend) (acme.Challenge, error) {
	q <- outcome{problem: problem}
	return acme.Challenge{Type: v.Type, Status: acme.ChallengeValid, Error: problem}, nil
}

func (q queue) RetryValidation(_ context.Context, _ *acme.Validation, problem *acme.Problem, _ time.Duration) error {
	q <- outcome{problem: problem, retry: true}
	return nil
}

// lab is a worker with a world of its own around it.
type lab struct {
	dns    *acmetest.DNS
	config validation.Config
}

// newLab returns a lab in which foo.example is 127.0.0.1.
func newLab(t *testing.T) *lab {
	t.Helper()
	dns := acmetest.StartDNS(t)
	dns.SetA("foo.example", loopback4)
	return &lab{dns: dns, config: validation.Config{Resolvers: []string{dns.Address()}, Networks: allowLoopback}}
}

// attempt makes the first attempt of a validation and returns its outcome. The worker
// writes into v, so tests that run at once need one each.
func (l *lab) attempt(t *testing.T, v *acme.Validation) outcome {
	t.Helper()
	results := make(queue, 1)
	l.config.Queue = results
	worker, err := validation.New(l.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		worker.Validate(ctx, v)
	}()
	result := <-results
	cancel()
	<-done
	return result
}

// validationOf returns the validation of a challenge for an identifier.
func validationOf(t *testing.T, typ acme.ChallengeType, identifier string) *acme.Validation {
	t.Helper()
	idType := acme.DNS
	if _, err := netip.ParseAddr(identifier); err == nil {
		idType = acme.IP
	}
	id, err := acme.ParseIdentifier(string(idType), identifier)
	if err != nil {
		t.Fatal(err)
	}
	return &acme.Validation{
		AuthorizationID: acme.NewID(), AccountID: acme.NewID(), Thumbprint: acme.Thumbprint{1, 2, 3},
		Identifier: id, Type: typ, Token: acme.NewToken(), Attempt: 1, Lease: acme.NewID(),
	}
}

// keyAuthorization returns what proves v.
func keyAuthorization(v *acme.Validation) string { return acme.KeyAuthorization(v.Token, v.Thumbprint) }

// expectation is what an attempt should come to.
type expectation struct {
	// problem is empty where control should be proved.
	problem acme.ProblemType
	// final says that no other attempt should follow.
	final bool
	// says lists parts of the detail, hides what must not be in it.
	says, hides []string
}

// check compares an outcome.
func (e expectation) check(t *testing.T, got outcome) {
	t.Helper()
	if e.problem == "" {
		if got.problem != nil || got.retry {
			t.Fatalf("control was not proved: %v", got.problem)
		}
		return
	}
	if got.problem == nil {
		t.Fatal("control was proved")
	}
	if got.problem.Type != e.problem || got.retry == e.final {
		t.Errorf("problem %s, another attempt %t; want %s, %t", got.problem.Type, got.retry, e.problem, !e.final)
	}
	for _, part := range e.says {
		if !strings.Contains(got.problem.Detail, part) {
			t.Errorf("detail does not say %q: %s", part, got.problem.Detail)
		}
	}
	for _, part := range e.hides {
		if strings.Contains(got.problem.Detail, part) {
			t.Errorf("detail says %q: %s", part, got.problem.Detail)
		}
	}
	const bound = 2000
	if len(got.problem.Detail) > bound {
		t.Errorf("detail has %d bytes, more than %d", len(got.problem.Detail), bound)
	}
	for _, r := range got.problem.Detail {
		if r < ' ' || r == 0x7f {
			t.Errorf("detail has the control character %q", r)
		}
	}
	t.Log(got.problem.Detail)
}
