package validation

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// Lease is how long a validation is to be leased to a [Worker], by StartValidation
// too: an attempt's time, and that of recording its result in a slow store.
const Lease = 30 * time.Second

const (
	// storeTimeout bounds one call of the queue.
	storeTimeout = 5 * time.Second
	// maxTimeout keeps an attempt, and the call that records it, within the lease.
	maxTimeout = Lease - 2*storeTimeout
	// pollInterval is about how often due validations are looked for: those of
	// replicas that crashed, and those that were given back.
	pollInterval = time.Second
)

// pauses lists the time after each attempt that failed, until the next. After
// the attempt that follows the last one, the challenge is invalid.
var pauses = []time.Duration{time.Second, 2 * time.Second}

// Queue is where validations are kept, shared by all replicas.
type Queue interface {
	// ClaimValidations leases up to limit validations to the caller: those that are
	// due and whose lease was given back or has run out. It counts an attempt of
	// each. Whoever had the lease before has it no more. Accounts take turns: those
	// with the least in flight come first, each with what is due for longest.
	ClaimValidations(ctx context.Context, limit int, lease time.Duration) ([]*acme.Validation, error)
	// RecordValidation ends a validation: the challenge becomes valid where problem
	// is nil, else invalid, which takes the spends. It is an [*acme.StateError] or [acme.ErrNotFound] where
	// the lease is another's by now or the authorization is pending no more.
	RecordValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, spends []acme.Spend) (acme.Challenge, error)
	// RetryValidation gives the lease back; the validation is due after the given
	// time. The problem is shown in the challenge meanwhile. Where it is nil nothing
	// was attempted, and the attempt is not counted. Errors are those of
	// RecordValidation.
	RetryValidation(ctx context.Context, v *acme.Validation, problem *acme.Problem, after time.Duration) error
}

// method proves control in one of the ways of [acme.ChallengeTypes]. It returns
// nil where control is proved, and soon after ctx ends.
type method interface {
	prove(ctx context.Context, v *acme.Validation) *failure
}

// Worker attempts validations: those that are handed to it by Validate, and those
// that Run claims. It keeps no list of what is to be done, the queue does: what
// finds no free slot is given back to it.
type Worker struct {
	queue   Queue
	limits  Limits // may be nil
	methods map[acme.ChallengeType]method
	caa     *caa
	timeout time.Duration
	grace   time.Duration
	lasts   time.Duration // of an authorization that is valid
	log     *slog.Logger
	metrics *metrics
	slots   *slots
	waiters waiters
	// wake makes Run look for validations now.
	wake chan struct{}
	// base is the context of all attempts; halt ends them.
	base context.Context
	halt context.CancelFunc
}

// New returns a worker. Its Run must be called for anything but a first attempt
// of what Validate is given.
func New(config Config) (*Worker, error) {
	c, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	policy, err := newPolicy(c.Networks)
	if err != nil {
		return nil, err
	}
	// A fifth each: two rounds of DNS, two addresses, and time to talk remains.
	resolver, err := newResolver(c.Resolvers, c.ResolvConf, c.Timeout/5)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, err
	}
	dialer := &dialer{resolver: resolver, policy: policy, timeout: c.Timeout / 5}
	w := &Worker{
		queue: c.Queue, limits: c.Limits, timeout: c.Timeout, grace: c.Grace, log: c.Logger, metrics: metrics,
		slots: newSlots(c.Concurrency), wake: make(chan struct{}, 1),
		caa: &caa{resolver: resolver, identities: c.CAAIdentities, accounts: c.AccountURLs},
		methods: map[acme.ChallengeType]method{
			acme.HTTP01:       &http01{dialer: dialer, httpPort: c.HTTP01Port, httpsPort: c.TLSALPN01Port, timeout: c.Timeout / 2},
			acme.DNS01:        &dns01{resolver: resolver},
			acme.TLSALPN01:    &tlsALPN01{dialer: dialer, port: c.TLSALPN01Port, timeout: c.Timeout / 2},
			acme.DNSAccount01: &dnsAccount01{resolver: resolver, accounts: c.AccountURLs},
			acme.DNSPersist01: &dnsPersist01{
				resolver: resolver, issuers: c.CAAIdentities, accounts: c.AccountURLs, hashes: c.AccountHashes, now: time.Now,
			},
		},
	}
	if c.AuthorizationReuse > 0 {
		w.lasts = c.AuthorizationReuse + acme.MinReuse
	}
	w.base, w.halt = context.WithCancel(context.Background())
	return w, nil
}

// patience is how long a first attempt may take of which nothing is stored: longer than
// most that succeed, and short, as for so long it can be lost with this process.
const patience = 100 * time.Millisecond

// Prove attempts a validation of which the queue has nothing, and reports whether control
// was proved soon. What fails, takes longer or finds no free slot is to be started and
// given to Validate, which makes another attempt: so nothing is said of it here.
func (w *Worker) Prove(_ context.Context, v *acme.Validation) bool {
	method, known := w.methods[v.Type]
	if !known || w.slots.take(v.AccountID) != taken {
		return false
	}
	defer w.release(1)
	defer w.slots.drop(v.AccountID)
	start := time.Now()
	if f := w.attempt(method, v, patience); f != nil {
		return false
	}
	v.Lasts = w.lasts
	w.observe(v, valid, nil, time.Since(start))
	return true
}

// Validate takes over a validation that was leased for [Lease], which is the worker's
// from then on, and waits for its result until ctx ends; the work goes on after that. It
// reports false where there is no result yet: ctx has ended, or the worker is about to.
func (w *Worker) Validate(ctx context.Context, v *acme.Validation) (acme.Challenge, bool) {
	result, forget := w.waiters.add(v)
	defer forget()
	switch w.slots.take(v.AccountID) {
	case taken:
		go w.run(v)
	case full: // any replica may take it, this one too, when it is the account's turn
		if !w.giveBack(v, 0) {
			return acme.Challenge{}, false
		}
		w.wakeUp()
	case closed:
		w.giveBack(v, 0)
		return acme.Challenge{}, false
	}
	select {
	case challenge, ok := <-result:
		return challenge, ok
	case <-ctx.Done():
		return acme.Challenge{}, false
	}
}

// Run claims validations that are due until ctx ends, about once a second. Then
// it waits for attempts in flight, and gives back what is not done within the
// grace. It returns nil. It is to be called once.
func (w *Worker) Run(ctx context.Context) error {
	silent := false // whether an error of the queue was logged, and it has not answered since
	for ctx.Err() == nil {
		more, err := w.claim(ctx)
		if err != nil && !silent {
			w.log.Warn("validations cannot be claimed", "error", err)
		}
		silent = err != nil
		if more {
			continue
		}
		// The jitter keeps replicas from asking all at once.
		timer := time.NewTimer(pollInterval*3/4 + rand.N(pollInterval/2)) //nolint:gosec // jitter, no secret
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	w.drain()
	return nil
}

// claim starts what is due. It takes at most half of the free slots, as those who
// call Validate wait for an answer. It reports whether there may be more to claim now.
func (w *Worker) claim(ctx context.Context) (more bool, err error) {
	n := w.slots.takeHalf()
	if n == 0 {
		return false, nil
	}
	unused := n
	defer func() { w.release(unused) }()
	// Not cut short by ctx: what was claimed must be known to have been.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	claimed, err := w.queue.ClaimValidations(ctx, n, Lease)
	if err != nil {
		return false, fmt.Errorf("claim %d validations: %w", n, err)
	}
	for _, v := range claimed {
		unused--
		w.slots.hold(v.AccountID)
		go w.run(v)
	}
	return unused == 0, nil
}

// release frees slots, and looks for more work where some was left undone.
func (w *Worker) release(n int) {
	if starved := w.slots.release(n); starved {
		w.wakeUp()
	}
}

// wakeUp makes Run look for validations, now or as soon as it can.
func (w *Worker) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default: // it will already
	}
}

// drain waits for attempts in flight for the grace, and then ends them.
func (w *Worker) drain() {
	idle := w.slots.close()
	timer := time.NewTimer(w.grace)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
	w.halt()
	<-idle // soon: attempts obey the context, calls of the queue have a deadline
}

// run makes an attempt in a slot that was taken for it. A panic of the queue ends
// this attempt only: the lease runs out, and the validation is claimed anew.
func (w *Worker) run(v *acme.Validation) {
	defer w.release(1)
	defer w.slots.drop(v.AccountID)
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("panic in a validation's queue", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	method, known := w.methods[v.Type]
	if !known { // of a newer replica, in the middle of an upgrade: leave it to that
		w.giveBack(v, pollInterval)
		return
	}
	start := time.Now()
	f := w.attempt(method, v, w.timeout)
	w.settle(v, f, time.Since(start))
}

// CheckCAA returns why the CAA records of a domain forbid, now, that a certificate
// is issued for it to an account that proved control by a challenge type ("" for
// one that is trusted without); nil where they do not, and where this authority
// goes by no name. It is for proofs that are old: each new one is checked.
func (w *Worker) CheckCAA(ctx context.Context, account acme.ID, identifier acme.Identifier, t acme.ChallengeType) *acme.Problem {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	if f := w.caa.check(ctx, identifier, account, t); f != nil {
		return f.problem
	}
	return nil
}

// attempt asks the method, and then the CAA records, within a time. A panic in it is a
// failure like others, so that a validation which always panics comes to an end.
func (w *Worker) attempt(m method, v *acme.Validation, within time.Duration) (f *failure) {
	w.metrics.inFlight.Inc()
	defer w.metrics.inFlight.Dec()
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("panic in a validation", "type", v.Type, "identifier", v.Identifier, "panic", p, "stack", string(debug.Stack()))
			f = failed(acme.ServerInternal, "the validation ended unexpectedly")
		}
	}()
	ctx, cancel := context.WithTimeout(w.base, within)
	defer cancel()
	if f := m.prove(ctx, v); f != nil {
		return f
	}
	return w.caa.check(ctx, v.Named(), v.AccountID, v.Type)
}

// settle brings the outcome of an attempt to the queue.
func (w *Worker) settle(v *acme.Validation, f *failure, took time.Duration) {
	switch {
	case f == nil:
		w.record(v, nil, took)
	case w.base.Err() != nil: // cut short, which proves nothing
		w.observe(v, returned, f, took)
		w.giveBack(v, 0)
	case f.final || v.Attempt > len(pauses):
		w.record(v, f, took)
	default:
		w.retry(v, f, took)
	}
}

// record ends a validation. Where the queue cannot be asked the lease runs out,
// and another attempt is made.
func (w *Worker) record(v *acme.Validation, f *failure, took time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	result, problem, spends := valid, (*acme.Problem)(nil), []acme.Spend(nil)
	if f != nil {
		result, problem = invalid, f.problem
		if w.limits != nil {
			spends = w.limits.FailedValidation(v.AccountID, v.Identifier)
		}
	}
	v.Lasts = w.lasts
	challenge, err := w.queue.RecordValidation(ctx, v, problem, spends)
	if err != nil {
		w.lost(v, took, err)
		return
	}
	w.observe(v, result, f, took)
	w.waiters.notify(v, challenge)
}

// retry gives a validation back until the next attempt is due, and looks for it then.
func (w *Worker) retry(v *acme.Validation, f *failure, took time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	pause := pauses[max(v.Attempt, 1)-1]
	if err := w.queue.RetryValidation(ctx, v, f.problem, pause); err != nil {
		w.lost(v, took, err)
		return
	}
	w.observe(v, retried, f, took)
	time.AfterFunc(pause, w.wakeUp)
}

// giveBack gives up the lease of a validation that was not attempted, and reports
// whether the queue knows.
func (w *Worker) giveBack(v *acme.Validation, after time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	err := w.queue.RetryValidation(ctx, v, nil, after)
	if err != nil {
		w.log.Warn("a validation was not given back and waits for its lease to run out",
			"authorization", v.AuthorizationID, "error", err)
	}
	return err == nil
}

// lost notes that a result was not taken: by a store that could not be asked, or
// because the validation is another's or is over. Nobody here learns a result.
func (w *Worker) lost(v *acme.Validation, took time.Duration, err error) {
	w.metrics.observe(v.Type, unrecorded, took)
	w.log.Warn("the result of a validation was not recorded", "type", v.Type, "identifier", v.Identifier,
		"authorization", v.AuthorizationID, "attempt", v.Attempt, "error", err)
	w.waiters.abandon(v)
}

// observe counts an attempt and logs it.
func (w *Worker) observe(v *acme.Validation, r result, f *failure, took time.Duration) {
	w.metrics.observe(v.Type, r, took)
	attributes := []any{
		"type", v.Type, "identifier", v.Identifier, "authorization", v.AuthorizationID,
		"account", v.AccountID, "attempt", v.Attempt, "result", r, "duration", took,
	}
	if f != nil {
		attributes = append(attributes, "problem", f.problem.Error())
	}
	w.log.Info("validation attempted", attributes...)
}
