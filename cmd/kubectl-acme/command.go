package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// commands lists the commands of acmeserver that are run in a pod.
var commands = []string{"accounts", "certificates"}

// usage says how the plugin is called.
const usage = `usage: kubectl acme [FLAG]... ACMESERVER COMMAND...

runs a command of acmeserver in a pod of an AcmeServer:
  kubectl acme -n pki internal certificates list --name web.apps.example
  kubectl acme -n pki internal certificates revoke --reason keyCompromise SERIAL
  kubectl acme -n pki internal accounts list
  kubectl acme -n pki internal accounts revoke ID
What comes after the AcmeServer's name is acmeserver's: -h there lists the flags of a command.

flags, which are kubectl's:`

// kubectl returns the arguments of kubectl by which a command of the plugin is run.
func kubectl(args []string) ([]string, error) {
	flags := flag.NewFlagSet("kubectl acme", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), usage)
		flags.PrintDefaults()
	}
	var global []string
	pass := func(name, text string) {
		flags.Func(name, text, func(value string) error {
			global = append(global, "--"+name+"="+value)
			return nil
		})
	}
	pass("namespace", "the `namespace` of the AcmeServer; also -n")
	pass("context", "the `name` of the kubeconfig's context")
	pass("cluster", "the `name` of the kubeconfig's cluster")
	pass("user", "the `name` of the kubeconfig's user")
	pass("as", "the `user` to act as")
	pass("kubeconfig", "the kubeconfig `file`")
	flags.Func("n", "short for --namespace", func(value string) error { return flags.Set("namespace", value) })
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() < 2 {
		flags.Usage()
		return nil, errors.New("name the AcmeServer, and a command")
	}
	server, command := flags.Arg(0), flags.Args()[1:]
	if !slices.Contains(commands, command[0]) {
		return nil, fmt.Errorf("%q is not a command that is run in a pod; those are %s", command[0], strings.Join(commands, ", "))
	}
	deployment := render.ServerName(&v1alpha1.AcmeServer{ObjectMeta: metav1.ObjectMeta{Name: server}})
	return slices.Concat(global, []string{"exec", "deployment/" + deployment, "--container=" + render.ServerContainer, "--", "/acmeserver"}, command), nil
}
