# Everything a developer runs. What a target needs and the machine lacks is installed or built first, into the user's
# cache; the scripts in hack/ say how.

IMAGE ?= acme-ca-operator:dev
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Where the kind cluster's images come from: registry or offline. Empty: whichever works.
CLUSTER_SOURCE ?=
KIND_CLUSTER ?= acme-ca
# The cluster of hack/kind, by a kubeconfig of its own. KUBECTL=kubectl is the cluster of the user.
KUBECTL ?= hack/kubectl
export IMAGE VERSION CLUSTER_SOURCE KIND_CLUSTER

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: $(shell grep -oE '^[a-z0-9-]+:' $(firstword $(MAKEFILE_LIST)) | tr -d :)

tool = go tool -modfile=hack/tools/go.mod

# The modules of their own below test, which hold clients and peers that nobody else should have to download.
test_modules = test/chart test/conformance test/conformance/pebble test/load/k6 test/load/step-ca

help: ## Show this
	@awk -F ':.*## ' '/^##@/ { print "\n" substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Try it

demo: ## Bring up a cluster with the operator and an AcmeServer, and issue a certificate
	hack/demo/run

demo-clean: kind-down ## Remove what the demo made: the cluster, with all that is in it

##@ Test

test: ## Run every test and say how long each part took
	FAULTS= hack/test unit store controllers conformance faults e2e

test-unit: ## Tests that need nothing but Go
	go test -race -timeout 30m $$(go list ./... | grep -vE '/(acme/postgres|cmd/acmeserver|controllers|test/load|test/faults)(/|$$)')
	cd test/chart && go test ./...

test-store: ## The store, acmeserver and the load generator, on a real Postgres
	hack/postgres/ensure >/dev/null
	go test -race -timeout 30m ./acme/postgres/... ./test/load/...
	go test -race -timeout 30m ./cmd/acmeserver

test-controllers: ## The controllers, on a real kube-apiserver and etcd
	hack/postgres/ensure >/dev/null
	KUBEBUILDER_ASSETS=$$(hack/envtest) go test -race -timeout 30m ./controllers/...

test-conformance: ## Foreign ACME clients
	hack/postgres/ensure >/dev/null
	hack/clients
	cd test/conformance && go test -count=1 -timeout 30m -parallel 6 ./... # they wait more than they compute
	cd test/conformance/pebble && go test -count=1 ./...

# How long the faults last: -long, or nothing for the short form, which make test has.
FAULTS ?= -long

test-faults: ## What is left when servers and databases die under load; FAULTS= is the short form
	hack/postgres/ensure >/dev/null
	go test -count=1 -timeout 30m -v ./test/faults $(FAULTS)

test-e2e: kind-up image ## Everything together, on kind
	hack/kind/load $(IMAGE)
	eval "$$(hack/kind/env)" && \
		E2E_OPERATOR_IMAGE=$(IMAGE) go test -tags e2e -count=1 -timeout 70m -v ./test/e2e/...

fuzz: ## Fuzz every target, each for FUZZTIME (60s)
	hack/fuzz

##@ Measure

BENCH ?=

bench: ## Compare with step-ca and Pebble under load, about ten minutes; BENCH has flags, such as -rounds 1
	hack/postgres/ensure >/dev/null
	go run ./test/load/bench $(BENCH)

bench-k6: ## Load of k6 against this server, six minutes, which must stay within thresholds; BENCH has flags
	hack/postgres/ensure >/dev/null
	go run ./test/load/bench k6 $(BENCH)

bench-grow: ## This server on a database with ten million certificates, beside a new one; BENCH has flags, such as -rows 100000
	hack/postgres/ensure >/dev/null
	go run ./test/load/bench grow $(BENCH)

bench-replicas: ## One and three replicas of this server on one database; BENCH has flags
	hack/postgres/ensure >/dev/null
	go run ./test/load/bench replicas $(BENCH)

##@ Develop

build: ## Compile the programs, static, into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/ ./cmd/...

generate: ## Generate code: deep copies, and what go:generate says
	$(tool) controller-gen object paths=./api/...
	go generate ./...

manifests: ## Generate the CRDs and the manager's role
	$(tool) controller-gen crd rbac:roleName=acme-ca-operator \
		paths=./api/... paths=./controllers/... paths=./cmd/manager/... \
		output:crd:artifacts:config=config/crd/bases output:rbac:artifacts:config=config/rbac

api-docs: ## Generate docs/api.md
	$(tool) crd-ref-docs --source-path=api/v1alpha1 --config=hack/api-docs.yaml --renderer=markdown \
		--max-depth=20 --output-path=docs/api.md

chart: ## Generate the templates of charts/acme-ca-operator
	go run ./hack/chart

fmt: ## Format the code
	$(tool) golangci-lint fmt

lint: ## Check the code and the scripts
	$(tool) golangci-lint run --build-tags e2e
	@for module in $(test_modules); do \
		echo "golangci-lint run in $$module"; \
		(cd $$module && go tool -modfile=$(CURDIR)/hack/tools/go.mod golangci-lint run) || exit; \
	done
	hack/shellcheck

vuln: ## Look for known vulnerabilities in what is linked in
	$(tool) govulncheck ./...

verify: ## Check that what is generated is what is committed
	hack/verify

##@ Deploy

image: ## Build the container image
	hack/image

kind-up: ## Bring up the kind cluster of the tests and the demo
	hack/kind/up

kind-down: ## Delete it
	hack/kind/down

install: ## Install the CRDs
	$(tool) kustomize build config/crd | $(KUBECTL) apply --server-side -f -

deploy: ## Install the CRDs and the operator with IMAGE
	hack/manifests | $(KUBECTL) apply --server-side -f -

undeploy: ## Remove them, and every AcmeServer
	hack/manifests | $(KUBECTL) delete --ignore-not-found -f -
