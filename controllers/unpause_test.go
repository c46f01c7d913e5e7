package controllers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
)

func TestUnpauseEntriesAreBounded(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range maxUnpaused + 2 {
		many = append(many, fmt.Sprintf("a/%d.test", i))
	}
	for _, test := range []struct {
		name, annotation string
		want             []string
		leftOut          string
	}{
		{"none", "", nil, ""},
		{"some, of which one twice", "a/b.test, c/d.test\na/b.test", []string{"a/b.test", "c/d.test"}, ""},
		{"one that is too long", strings.Repeat("a", maxSubject+1) + ",a/b.test", []string{"a/b.test"}, "1 entries are longer than 512 bytes, which none is that was ever paused"},
		{"too many", strings.Join(many, " "), many[:maxUnpaused], "2 entries are more than the 100 that it may have: take out those that were done"},
	} {
		p := &v1alpha1.AcmeRateLimitPolicy{}
		p.Annotations = map[string]string{v1alpha1.AnnotationUnpause: test.annotation}
		got, leftOut := unpauseEntries(p)
		if diff := cmp.Diff(test.want, got); diff != "" || leftOut != test.leftOut {
			t.Errorf("%s: left out: %q (-want +got):\n%s", test.name, leftOut, diff)
		}
	}
}
