#!/bin/sh
# Run once, when the database's volume is new: the login of runs, which is nobody's superuser, and
# Prefect's database with a login of its own.
psql -v ON_ERROR_STOP=1 --no-psqlrc -q -U "$POSTGRES_USER" -d "$POSTGRES_DB" \
    -v run="$DAYBOOK_RUN_PASSWORD" -v prefect="$DAYBOOK_PREFECT_DB_PASSWORD" <<'SQL'
create role daybook_loader nologin;
create role daybook_transformer nologin;
create role daybook_run login password :'run' in role daybook_loader, daybook_transformer;
create role prefect login password :'prefect';
create database prefect owner prefect;
SQL
