# shellcheck shell=bash
# What the scripts in hack/ share; each of them sources it first.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/acme-ca-operator
cluster=${KIND_CLUSTER:-acme-ca}
state=$cache/clusters/$cluster

# The cluster has a kubeconfig of its own: nothing here reads or writes the user's.
export KUBECONFIG=$state/kubeconfig
export GOWORK=off
mkdir -p "$state"

say() { printf '%s\n' "$*" >&2; }
die() {
	say "${0##*/}: $*"
	exit 1
}

scratch=$(mktemp -d)
step_log=
finish() {
	local status=$?
	if [ -n "$step_log" ]; then
		say ' failed:'
		tail -n 50 "$step_log" >&2
	fi
	rm -rf "$scratch"
	exit "$status"
}
trap finish EXIT

# step TEXT COMMAND...: run COMMAND quietly and say how long it took. If it fails, its output is shown and the
# script ends, so a step never stands in a condition.
step() {
	local text=$1 began=$SECONDS
	shift
	printf '%s ...' "$text" >&2
	step_log=$scratch/step.log
	("$@") >"$step_log" 2>&1 </dev/null
	step_log=
	printf ' %d s\n' $((SECONDS - began)) >&2
}

# lock NAME: wait until no other run of these scripts holds NAME, and hold it until this process and its
# children have ended. Daemons started meanwhile must close descriptor 9.
lock() {
	command -v flock >/dev/null || return 0 # not on macOS, where one developer has one terminal
	exec 9>"$cache/$1.lock"
	flock --nonblock 9 || {
		say "waiting for another run ($1)"
		flock 9
	}
}

# need COMMAND=PACKAGE...: install the Debian packages of the commands that are missing.
need() {
	local pair missing=()
	for pair; do
		command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		die "missing: ${missing[*]} (Debian's package names); install them, or run this as root on Debian"
	fi
	step "installing ${missing[*]}" install_packages "${missing[@]}"
}

install_packages() {
	(
		exec 8>"$cache/apt.lock"
		flock 8
		export DEBIAN_FRONTEND=noninteractive
		# The programs only: no service is started with them.
		if [ ! -e /usr/sbin/policy-rc.d ]; then
			trap 'rm -f /usr/sbin/policy-rc.d' EXIT
			install -m 755 /dev/stdin /usr/sbin/policy-rc.d <<<$'#!/bin/sh\nexit 101'
		fi
		apt-get update -qq -o Acquire::Retries=3
		apt-get install -y -qq --no-install-recommends -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold "$@" 8>&-
	)
}

# within SECONDS COMMAND...: end COMMAND if it takes longer, where there is a timeout command (not on macOS).
within() {
	if command -v timeout >/dev/null; then timeout "$@"; else "${@:2}"; fi
}

# digest DIRECTORY: a short hash of the names and contents of the files in it.
digest() { (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12); }

# module_directory DIRECTORY MODULE: where the sources of a module are that the one in DIRECTORY requires. On a new
# machine they are nowhere until they are asked for.
module_directory() {
	go -C "$1" mod download "$2" >&2
	go -C "$1" list -m -f '{{.Dir}}' "$2"
}

# The node image that kind v0.33.0 was released with.
node_image=kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5

# The address in the cluster of the name server of dns.test. Those of services are of 10.96.0.0/16, by kind's default.
# shellcheck disable=SC2034 # for those who source this
nameserver_address=10.96.0.53

# cluster_source: where the cluster's images come from: "registry", or "offline" where they are built on this
# machine. CLUSTER_SOURCE forces either; an existing cluster keeps what it was made with; else a registry is asked.
cluster_source() {
	local source=${CLUSTER_SOURCE:-}
	[ -n "$source" ] || source=$(cat "$state/source" 2>/dev/null || true)
	if [ -z "$source" ]; then
		source=offline
		if command -v docker >/dev/null && within 10 docker manifest inspect "$node_image" >/dev/null 2>&1; then
			source=registry
		fi
	fi
	case $source in
	registry | offline) echo "$source" ;;
	*) die "CLUSTER_SOURCE is '$source', but must be 'registry' or 'offline'" ;;
	esac
}

kind() { go tool -C "$root" -modfile="$root/hack/kind/go.mod" kind "$@"; }
kubectl() { "$(kubectl_path)" "$@"; }

# kubectl_path: the kubectl that comes with the API server of the controller tests: none need be installed.
kubectl_path() { echo "$("$root/hack/envtest")/kubectl"; }
