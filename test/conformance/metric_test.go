package conformance

import (
	"bufio"
	"context"
	"crypto/x509"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/acme-ca/acme-ca-operator/acme/config"
)

// metric returns the sum of the server's samples that have a name and labels.
func (s *acmeServer) metric(ctx context.Context, t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ops+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var sum float64
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := sample(lines.Text(), name, labels); ok {
			sum += value
		}
	}
	return sum
}

// sample returns the value of a line of the text format of metrics, where it has
// the name and the labels.
func sample(line, name string, labels []string) (float64, bool) {
	for _, label := range labels {
		if !strings.Contains(line, label) {
			return 0, false
		}
	}
	i := strings.LastIndexByte(line, ' ')
	if !strings.HasPrefix(line, name+"{") || i < 0 {
		return 0, false
	}
	value, err := strconv.ParseFloat(line[i+1:], 64)
	return value, err == nil
}

// brief is a profile of serve whose certificates are due for renewal at once, in
// the eyes of all who keep a reserve.
const brief = "brief"

// profiles are those of serve; dev has those that are built in.
var profiles = append(config.BuiltInProfiles(), config.Profile{
	Name: brief, Description: "TLS servers, for a quarter of an hour", Lifetime: config.Duration{Duration: 15 * time.Minute},
})

// mustHaveProfile fails the test unless a certificate lasts as long as its profile
// says; an empty one is the default.
func mustHaveProfile(t *testing.T, c *x509.Certificate, name string) {
	t.Helper()
	for i, p := range profiles {
		if p.Name != name && (name != "" || i > 0) {
			continue
		}
		if got := c.NotAfter.Sub(c.NotBefore).Round(time.Minute); got != p.Lifetime.Duration {
			t.Errorf("the certificate lasts %s, and should last the %s of the profile %s", got, p.Lifetime, p.Name)
		}
		return
	}
	t.Errorf("there is no profile %q", name)
}
