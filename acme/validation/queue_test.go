package validation

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// memoryQueue is a [Queue] as its contract has it, by the clock of the test.
type memoryQueue struct {
	mu   sync.Mutex
	jobs map[acme.ID]*memoryJob // by authorization
	// down is what every call returns where it is not nil.
	down error
	// claims counts the calls of ClaimValidations.
	claims int
}

// memoryJob is a validation and what became of it.
type memoryJob struct {
	acme.Validation
	due       time.Time // when it may be claimed
	challenge acme.Challenge
	recorded  int
	problems  []*acme.Problem // of all attempts
}

// start adds a validation and leases its first attempt, as StartValidation does.
func (q *memoryQueue) start(t acme.ChallengeType) *acme.Validation {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.jobs == nil {
		q.jobs = make(map[acme.ID]*memoryJob)
	}
	j := &memoryJob{
		Validation: acme.Validation{
			AuthorizationID: acme.NewID(), Type: t, Attempt: 1, Lease: acme.NewID(),
			Identifier: acme.Identifier{Type: acme.DNS, Value: "foo.example"},
		},
		due:       time.Now().Add(Lease),
		challenge: acme.Challenge{Type: t, Status: acme.ChallengeProcessing},
	}
	q.jobs[j.AuthorizationID] = j
	v := j.Validation
	return &v
}

// job returns a copy of the state of v.
func (q *memoryQueue) job(v *acme.Validation) memoryJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := *q.jobs[v.AuthorizationID]
	j.problems = slices.Clone(j.problems)
	return j
}

// asked returns how often ClaimValidations was called.
func (q *memoryQueue) asked() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.claims
}

func (q *memoryQueue) setDown(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.down = err
}

func (q *memoryQueue) ClaimValidations(_ context.Context, limit int, lease time.Duration) ([]*acme.Validation, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.claims++
	if q.down != nil {
		return nil, q.down
	}
	var claimed []*acme.Validation
	for _, j := range q.jobs {
		if j.recorded > 0 || j.due.After(time.Now()) || len(claimed) == limit {
			continue
		}
		j.Attempt++
		j.Lease, j.due = acme.NewID(), time.Now().Add(lease)
		v := j.Validation
		claimed = append(claimed, &v)
	}
	slices.SortFunc(claimed, func(a, b *acme.Validation) int {
		return cmp.Compare(a.AuthorizationID.String(), b.AuthorizationID.String())
	})
	return claimed, nil
}

// held returns the job of v where its lease still is v's.
func (q *memoryQueue) held(v *acme.Validation) (*memoryJob, error) {
	j := q.jobs[v.AuthorizationID]
	switch {
	case q.down != nil:
		return nil, q.down
	case j.recorded > 0 || j.Lease != v.Lease:
		return nil, &acme.StateError{Object: "authorization", ID: v.AuthorizationID, State: "leased to another"}
	}
	return j, nil
}

func (q *memoryQueue) RecordValidation(_ context.Context, v *acme.Validation, problem *acme.Problem, _ []acme.Spend) (acme.Challenge, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j, err := q.held(v)
	if err != nil {
		return acme.Challenge{}, err
	}
	j.recorded++
	j.problems = append(j.problems, problem)
	j.challenge.Status, j.challenge.Error = acme.ChallengeValid, problem
	if problem != nil {
		j.challenge.Status = acme.ChallengeInvalid
	}
	return j.challenge, nil
}

func (q *memoryQueue) RetryValidation(_ context.Context, v *acme.Validation, problem *acme.Problem, after time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	j, err := q.held(v)
	if err != nil {
		return err
	}
	if problem == nil {
		j.Attempt--
	} else {
		j.problems = append(j.problems, problem)
	}
	j.Lease, j.due = acme.ID{}, time.Now().Add(after)
	return nil
}
