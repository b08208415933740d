#!/bin/bash
# Run once by the postgres image, in a new and empty cluster: the programs' user owns its database and is no superuser.
set -euo pipefail
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
  --set password="$ROTARY_POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE rotary LOGIN PASSWORD :'password';
CREATE DATABASE rotary OWNER rotary;
REVOKE ALL ON DATABASE rotary FROM PUBLIC;
SQL
