#!/bin/bash
# Run once by the postgres image, in a new and empty cluster: the programs' user owns its database and is no superuser. The
# query service has a user that may read history and nothing else: the migrations grant it that.
set -euo pipefail
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
  --set password="$ROTARY_POSTGRES_PASSWORD" --set query_password="$ROTARY_QUERY_POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE rotary LOGIN PASSWORD :'password';
CREATE DATABASE rotary OWNER rotary;
REVOKE ALL ON DATABASE rotary FROM PUBLIC;
CREATE ROLE rotary_query LOGIN PASSWORD :'query_password' CONNECTION LIMIT 100;
ALTER ROLE rotary_query SET default_transaction_read_only = on;
GRANT CONNECT ON DATABASE rotary TO rotary_query;
SQL
