package controllers

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/acme-ca/acme-ca-operator/acme"
	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

func TestSweepThatFailsDoesNotDelayTheOthers(t *testing.T) {
	t.Parallel()
	failed := acme.GarbageSweep{Name: "a", Err: errors.New("no")}
	more := acme.GarbageSweep{Name: "b", More: true}
	for _, test := range []struct {
		name string
		run  garbageRun
		want time.Duration
	}{
		{"nothing is left", garbageRun{report: acme.GarbageReport{{Name: "b"}}}, time.Minute},
		{"one failed", garbageRun{report: acme.GarbageReport{failed}, err: failed.Err}, time.Minute},
		{"one failed, and another has left work", garbageRun{report: acme.GarbageReport{failed, more}, err: failed.Err}, garbageAgain},
		{"work is left that took a second", garbageRun{report: acme.GarbageReport{more}, duration: time.Second}, time.Second},
		{"work is left that took longer than the interval", garbageRun{report: acme.GarbageReport{more}, duration: time.Hour}, time.Minute},
	} {
		if got := test.run.again(time.Minute); got != test.want {
			t.Errorf("%s: it comes again after %s; want %s", test.name, got, test.want)
		}
	}
}

func TestGarbageIsToldOfWhereThereIsNews(t *testing.T) {
	t.Parallel()
	now := time.Now()
	server := &v1alpha1.AcmeServer{}
	server.Status.GarbageCollection = &v1alpha1.GarbageCollectionStatus{}
	well, ill := garbageRun{}, garbageRun{err: errors.New("refused")}
	for _, test := range []struct {
		name        string
		before, now garbageRun
		ago         time.Duration
		want        bool
	}{
		{"all is well still", well, well, 9 * time.Minute, false},
		{"all is well after ten minutes", well, well, 10 * time.Minute, true},
		{"it fails", well, ill, time.Second, true},
		{"it recovers", ill, well, time.Second, true},
		{"it fails still", ill, ill, 9 * time.Minute, false},
		{"it fails for another reason", ill, garbageRun{err: errors.New("no space")}, time.Minute, true},
		{"it fails for another reason again and again", ill, garbageRun{err: errors.New("no space")}, time.Second, false},
	} {
		status := *server.Status.DeepCopy()
		status.GarbageCollection.LastRun = metav1.NewTime(now.Add(-test.ago))
		status.Conditions = []metav1.Condition{garbageCondition(server, test.before)}
		if got := garbageReportDue(status, garbageCondition(server, test.now), now); got != test.want {
			t.Errorf("%s: told of: %t", test.name, got)
		}
	}
}

func TestGarbageIsMeasuredUntilTheAcmeServerIsGone(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	m, err := newGarbageMetrics(registry)
	must(t, err)
	one, two := types.NamespacedName{Namespace: "pki", Name: "one"}, types.NamespacedName{Namespace: "pki", Name: "two"}
	for _, of := range []types.NamespacedName{one, two} {
		m.observe(of, garbageRun{report: acme.GarbageReport{{Name: "free limits", Rows: 3, Overdue: 90 * time.Second}}})
		// Of what a sweep that fails has left nothing new is known.
		m.observe(of, garbageRun{report: acme.GarbageReport{{Name: "free limits", Err: errors.New("no")}}, err: errors.New("no")})
	}
	m.forget(two)
	got := map[string]float64{}
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		for _, metric := range family.Metric {
			if name := labelOf(metric, "name"); name != "" {
				got[family.GetName()+" "+name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	want := map[string]float64{
		"acme_operator_garbage_runs_total one": 2, "acme_operator_garbage_failures_total one": 1,
		"acme_operator_garbage_oldest_due_seconds one": 90,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the metrics (-want +got):\n%s", diff)
	}
}

// labelOf returns the value of a label, or "".
func labelOf(metric *dto.Metric, name string) string {
	for _, label := range metric.Label {
		if label.GetName() == name {
			return label.GetValue()
		}
	}
	return ""
}
