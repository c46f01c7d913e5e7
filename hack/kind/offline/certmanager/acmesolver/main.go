// Command acmesolver is what cert-manager starts in a pod to answer one http-01 challenge.
package main

import (
	"flag"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/http/solver"
	"k8s.io/klog/v2"
)

func main() {
	var s solver.HTTP01Solver
	flag.IntVar(&s.ListenPort, "listen-port", 8089, "port")
	flag.StringVar(&s.Domain, "domain", "", "the name under challenge")
	flag.StringVar(&s.Token, "token", "", "the challenge's token")
	flag.StringVar(&s.Key, "key", "", "the answer: the key authorization")
	flag.Parse()
	klog.Fatal(s.Listen(klog.Background()))
}
