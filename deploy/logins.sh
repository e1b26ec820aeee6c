#!/bin/sh
# Run once, when the database's volume is new: the login of runs, which is nobody's superuser, and
# Prefect's database with a login of its own.
psql -v ON_ERROR_STOP=1 --no-psqlrc -q -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
-- as arguments everybody on the machine could read them
\getenv run DAYBOOK_RUN_PASSWORD
\getenv prefect DAYBOOK_PREFECT_DB_PASSWORD
create role daybook_loader nologin;
create role daybook_transformer nologin;
grant create on database :"DBNAME" to daybook_transformer; -- for the schemas of a proof
create role daybook_run login password :'run' in role daybook_loader, daybook_transformer;
create role prefect login password :'prefect';
create database prefect owner prefect;
SQL
