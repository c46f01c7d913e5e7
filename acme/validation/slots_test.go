package validation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestAnAccountTakesNoMoreThanAQuarterOfTheSlotsByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, one, other := new(memoryQueue), acme.NewID(), acme.NewID()
		w, err := New(Config{Queue: q, Resolvers: []string{"192.0.2.1"}, Concurrency: 8}) // it does not run, so nothing is claimed
		if err != nil {
			t.Fatal(err)
		}
		w.methods = map[acme.ChallengeType]method{acme.HTTP01: methodFunc(func(ctx context.Context, v *acme.Validation) *failure {
			if v.AccountID == one {
				<-ctx.Done()
			}
			return nil
		})}
		start := func(account acme.ID) *acme.Validation {
			v := q.start(acme.HTTP01)
			v.AccountID = account
			return v
		}
		for range 2 {
			go validate(t, w, start(one))
		}
		synctest.Wait()
		third := start(one)
		go validate(t, w, third)
		synctest.Wait()
		if got := q.job(third); got.Attempt != 0 || !got.Lease.IsZero() {
			t.Errorf("attempt %d, lease %s: the third was not given back uncounted", got.Attempt, got.Lease)
		}
		if challenge, ok := validate(t, w, start(other)); !ok || challenge.Status != acme.ChallengeValid {
			t.Errorf("another account's: %v, %t; want it valid at once", challenge, ok)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock; the first two have timed out
		fourth := start(one)
		go validate(t, w, fourth)
		synctest.Wait()
		if got := q.job(fourth); got.Attempt != 1 || got.Lease.IsZero() {
			t.Errorf("attempt %d, lease %s: the fourth was not taken", got.Attempt, got.Lease)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock; until all is over
	})
}
