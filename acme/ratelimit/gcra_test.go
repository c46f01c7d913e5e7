package ratelimit_test

import (
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/acme/ratelimit"
)

func TestABurstIsTakenAtOnceAndThenOneUnitAtATime(t *testing.T) {
	t.Parallel()
	l := acme.Limit{Count: 3, Period: time.Minute}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var tat time.Time
	for i := range 3 {
		var ok bool
		if tat, _, ok = ratelimit.Take(tat, now, l); !ok {
			t.Fatalf("spend %d of the burst was refused", i+1)
		}
	}
	kept, wait, ok := ratelimit.Take(tat, now, l)
	if ok || wait != 20*time.Second || !kept.Equal(tat) {
		t.Fatalf("the fourth: kept %v, wait %v, %v; want refused for 20 s", kept, wait, ok)
	}
	if _, _, ok := ratelimit.Take(tat, now.Add(wait-time.Nanosecond), l); ok {
		t.Error("taken before the wait was over")
	}
	if _, _, ok := ratelimit.Take(tat, now.Add(wait), l); !ok {
		t.Error("refused after the wait")
	}
}

func TestInAnyWindowNoMoreThanBurstAndRateAreTaken(t *testing.T) {
	t.Parallel()
	l := acme.Limit{Count: 60, Period: time.Minute, Burst: 5}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var tat time.Time
	taken := 0
	for range 1000 { // ten a second for 100 s
		var ok bool
		if tat, _, ok = ratelimit.Take(tat, now, l); ok {
			taken++
		}
		now = now.Add(100 * time.Millisecond)
	}
	if want := 100 + 5 - 1; taken < want || taken > want+1 {
		t.Errorf("took %d in 100 s at one a second with a burst of 5; want about %d", taken, want)
	}
}

func TestWhatIsSpentBecomesFreeWithTime(t *testing.T) {
	t.Parallel()
	l := acme.Limit{Count: 1, Period: time.Hour}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	tat, _, _ := ratelimit.Take(time.Time{}, now, l)
	if remaining, reset := ratelimit.Left(tat, now, l); remaining != 0 || reset != time.Hour {
		t.Errorf("left %d, reset in %v; want 0 and an hour", remaining, reset)
	}
	if remaining, reset := ratelimit.Left(tat, now.Add(2*time.Hour), l); remaining != 1 || reset != 0 {
		t.Errorf("after a rest: left %d, reset in %v; want 1 and none", remaining, reset)
	}
}
