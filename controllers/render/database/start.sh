#!/bin/sh
# Starts the embedded PostgreSQL of an AcmeServer. Of the image it asks a POSIX
# shell, initdb and postgres, and nothing of its entry point. It may be killed
# between any two lines and started again.
set -eu
umask 0077

: "${DATABASE_VOLUME:=/var/lib/acme-database}"
: "${DATABASE_CONFIG:=/etc/acme-database/config}"
: "${DATABASE_TLS:=/etc/acme-database/tls}"
: "${DATABASE_PASSWORD_FILE:=/etc/acme-database/password/password}"
: "${DATABASE_SOCKETS:=/var/run/postgresql}"
: "${DATABASE_PORT:=5432}"
data=$DATABASE_VOLUME/data

# Debian keeps the programs of each major version out of PATH. The data can only
# be opened by the version that made them.
wanted=
[ ! -f "$data/PG_VERSION" ] || wanted=$(cat "$data/PG_VERSION")
for directory in /usr/lib/postgresql/*/bin; do
	[ -x "$directory/postgres" ] || continue
	[ -z "$wanted" ] || [ "$directory" = "/usr/lib/postgresql/$wanted/bin" ] || continue
	found=$directory
done
[ -z "${found:-}" ] || PATH=$found:$PATH

# Runs SQL from standard input, one statement per line, without a server: nobody
# can connect meanwhile. The first error ends it; no statement is logged, since
# one has the password.
run_sql() {
	postgres --single -D "$1" -c exit_on_error=on -c log_min_error_statement=panic \
		-c log_min_messages=error -c log_checkpoints=off postgres >/dev/null
}

# The data are made beside their place and moved there when they are complete.
if [ ! -d "$data" ]; then
	echo "making a database in $data"
	rm -rf "$data.new"
	initdb --pgdata="$data.new" --username=postgres --auth=reject \
		--encoding=UTF8 --locale=C --data-checksums >/dev/null
	run_sql "$data.new" <<-'SQL'
		CREATE ROLE acme NOLOGIN
		CREATE DATABASE acme OWNER acme
	SQL
	mv "$data.new" "$data"
fi

# The Secret's password is the password, also after it was changed or restored.
password=$(sed "s/'/''/g" "$DATABASE_PASSWORD_FILE")
run_sql "$data" <<-SQL
	ALTER ROLE acme LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '$password'
SQL
unset password

exec postgres -D "$data" \
	-c config_file="$DATABASE_CONFIG/postgresql.conf" \
	-c hba_file="$DATABASE_CONFIG/pg_hba.conf" \
	-c ssl_cert_file="$DATABASE_TLS/tls.crt" \
	-c ssl_key_file="$DATABASE_TLS/tls.key" \
	-c unix_socket_directories="$DATABASE_SOCKETS" \
	-c port="$DATABASE_PORT"
