package generator_test

import (
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

func TestPercentilesAreByNearestRank(t *testing.T) {
	t.Parallel()
	ascending := func(n int) (l generator.Latencies) {
		for i := range n {
			l = append(l, time.Duration(i+1))
		}
		return l
	}
	for _, test := range []struct {
		n    int
		p    float64
		want time.Duration
	}{
		{0, 50, 0},
		{1, 0, 1},
		{1, 99, 1},
		{2, 50, 1},
		{4, 50, 2},
		{5, 50, 3},
		{100, 99, 99},
		{101, 99, 100},
		{1000, 99, 990},
		{100, 100, 100},
	} {
		if got := ascending(test.n).Percentile(test.p); got != test.want {
			t.Errorf("percentile %g of 1 to %d is %d, want %d", test.p, test.n, got, test.want)
		}
	}
}

func TestTheRateIsOfWhatWasIssued(t *testing.T) {
	t.Parallel()
	r := generator.Result{Elapsed: 2 * time.Second, Latencies: map[generator.Step]generator.Latencies{generator.Flow: {1, 2, 3}}}
	if got := r.Rate(); got != 1.5 {
		t.Errorf("three flows in two seconds are %g in a second, want 1.5", got)
	}
	if got := new(generator.Result).Rate(); got != 0 {
		t.Errorf("no flows in no time are %g in a second, want 0", got)
	}
}
