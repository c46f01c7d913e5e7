package controllers

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

func TestALogInJSONSaysWhatAWatchIsOf(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	watch := loggedSource{source.Kind(nil, &certmanagerv1.ClusterIssuer{}, enqueueIssuersServer())}
	slog.New(slog.NewJSONHandler(&log, nil)).Info("Starting EventSource", "source", watch)
	if want := `"source":"kind source: *v1.ClusterIssuer"`; !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %s: %s", want, log.String())
	}
}
