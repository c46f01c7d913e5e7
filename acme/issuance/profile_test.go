package issuance

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAProfileThatNobodyDescribedSaysWhomItIsForAndHowLong(t *testing.T) {
	t.Parallel()
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	c := newCA(t, ECDSAP256, testClock).config()
	c.Profiles = []Profile{
		{Name: "described", Description: "sidecars", Lifetime: time.Hour, Usages: []x509.ExtKeyUsage{server}},
		{Name: "server", Lifetime: 6 * 24 * time.Hour, Usages: []x509.ExtKeyUsage{server}},
		{Name: "client", Lifetime: 24 * time.Hour, Usages: []x509.ExtKeyUsage{client}},
		{Name: "both", Lifetime: 160 * time.Hour, Usages: []x509.ExtKeyUsage{client, server}},
		{Name: "neither", Lifetime: time.Hour, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}},
		{Name: "minutes", Lifetime: 90 * time.Minute, Usages: []x509.ExtKeyUsage{server}},
		{Name: "odd", Lifetime: time.Hour + time.Second, Usages: []x509.ExtKeyUsage{server}},
	}
	want := map[string]string{
		"described": "sidecars",
		"server":    "TLS servers, for 6 days",
		"client":    "TLS clients, for 1 day",
		"both":      "both ends of mutual TLS, for 160 hours",
		"neither":   "other uses than TLS, for 1 hour",
		"minutes":   "TLS servers, for 90 minutes",
		"odd":       "TLS servers, for 1h0m1s",
	}
	if diff := cmp.Diff(want, mustNew(t, c).Profiles()); diff != "" {
		t.Errorf("descriptions (-want +got):\n%s", diff)
	}
}
