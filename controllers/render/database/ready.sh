#!/bin/sh
# Succeeds when PostgreSQL takes connections: it writes its state to the eighth
# line of its lock file. (pg_isready is not in every image.)
set -eu
: "${DATABASE_VOLUME:=/var/lib/acme-database}"
state=$(sed -n '8s/ *$//p' "$DATABASE_VOLUME/data/postmaster.pid")
[ "$state" = ready ]
