"""A day by three logins: each role can do its own work and nothing else."""

from __future__ import annotations

import shutil

import psycopg
import pytest

from flows import doctor
from flows.day import get_ready
from flows.prove import prove
from flows.status import read_status
from loaders import server, session
from loaders import warehouse as wh
from loaders.__main__ import main as land
from loaders.backup import backup
from loaders.days import parse_day
from loaders.errors import DaybookError, DriverError, WarehouseError, plain
from loaders.landing import land_day
from loaders.restore import restore
from tests.raw_days import SAMPLE
from tests.silver_world import agent
from tests.watching import column, tuples, value

WORKERS = {"ann": "daybook_loader", "ben": "daybook_transformer", "cid": "daybook_reader"}


@pytest.fixture
def as_login(db, warehouse, monkeypatch):
    """`as_login("ann")`: what follows connects as that login; ann, ben and cid have a role each."""
    for name, role in WORKERS.items():
        db.execute(f"create role {name} login in role {role}")

    def become(name: str) -> None:
        monkeypatch.setenv("DATABASE_URL", warehouse.replace("daybook@", f"{name}@"))

    yield become
    for name in WORKERS:
        db.execute(f"drop owned by {name}; drop role {name}")


def refused(statement: str) -> bool:
    """Whether the login that DATABASE_URL names may not do that."""
    try:
        with wh.connect() as conn:
            conn.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def test_a_day_as_three_logins(as_login, dbt, db):
    as_login("ann")
    assert land(["--day", "day1", "--data", str(SAMPLE)]) == 0
    assert refused("delete from metrics.pipeline_metrics")
    assert refused("update metrics.pipeline_metrics set rows_inserted = 0")
    assert refused("create table silver.mine ()")

    as_login("ben")
    assert dbt("build").success
    assert tuples(db, "select * from metrics.row_ledger where not balanced") == []
    assert "can't write bronze: grant" in str(doctor.examine())
    with pytest.raises(WarehouseError, match="has to be in the roles daybook_loader"):
        get_ready()
    assert refused("delete from bronze.stg_agents")
    assert refused("update bronze.load_batches set status = 'failed'")

    as_login("ann")  # lands the next day beside what ben built, and matches its names
    assert land(["--day", "day2", "--data", str(SAMPLE)]) == 0
    as_login("ben")
    assert dbt("build").success

    as_login("cid")
    with wh.connect() as conn:
        for view in ("marts.inactive_groups", "metrics.group_activity", "metrics.row_ledger"):
            assert value(conn, f"select count(*) from {view}") > 0
    for schema, table in (("silver", "agents"), ("quarantine", "agents"), ("bronze", "stg_agents")):
        assert refused(f"select from {schema}.{table}")
    for lock in ("pg_advisory_lock", "pg_try_advisory_xact_lock_shared"):
        assert refused(f"select {lock}(1684109666)")


def test_roles_may_read_no_column_outside_of_their_schemas(world):
    found = world.db.execute(
        """
        select rolname, relnamespace::regnamespace::text as schema,
            array_agg(distinct case when relnamespace = 'silver'::regnamespace then attname end)
                as columns
        from pg_class
        inner join pg_attribute on attrelid = pg_class.oid and attnum > 0
        cross join unnest(array['daybook_loader', 'daybook_reader']) as rolname
        where relkind in ('r', 'p', 'v', 'm') and has_column_privilege(
            rolname, pg_class.oid, attnum, 'select, insert, update'
        ) and relnamespace::regnamespace::text in (
            'bronze', 'intermediate', 'silver', 'quarantine', 'metrics', 'marts'
        )
        group by 1, 2
        """
    )
    assert {(row["rolname"], row["schema"]): row["columns"] for row in found} == {
        ("daybook_loader", "bronze"): [None],
        ("daybook_loader", "metrics"): [None],
        ("daybook_loader", "silver"): ["agent_id", "name"],
        ("daybook_reader", "marts"): [None],
        ("daybook_reader", "metrics"): [None],
    }


def test_a_proof_names_the_right_that_is_missing(as_login, warehouse, db):
    as_login("ben")
    with pytest.raises(WarehouseError, match="may not make them: grant create on database") as said:
        prove()
    grant = str(said.value).partition("make them: ")[2].rstrip(".")
    db.execute(grant)
    db.execute(f"revoke select on bronze.expired_days from {wh.TRANSFORMER}")
    with pytest.raises(WarehouseError, match=r"may not fill them: .*expired_days"):
        prove()


def test_what_a_login_makes_by_hand_the_readers_of_its_schema_may_read(as_login):
    wh.migrate()  # looks who may make something
    as_login("ben")
    assert not refused("create table marts.by_hand as select 1 as n")
    as_login("cid")
    assert not refused("select n from marts.by_hand")


# What a session has, and what a server has to be


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("default_transaction_isolation = serializable", "read committed"),
        ("array_nulls = off", "on"),
        ("client_encoding = LATIN1", "UTF8"),
        ("standard_conforming_strings = off", "on"),
        ("quote_all_identifiers = on", "off"),
        # a backup's hashes are of texts, and another server's database has other settings
        ("extra_float_digits = -5", "1"),
        ("IntervalStyle = iso_8601", "postgres"),
        ("bytea_output = escape", "hex"),
        ("idle_session_timeout = '5s'", "0"),
    ],
)
def test_what_a_server_sets_for_others_does_not_reach_a_run(db, monkeypatch, setting, wanted):
    db.execute(f"alter database daybook set {setting}")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with wh.connect(role=wh.LOADER) as conn:
        assert value(conn, f"show {setting.split()[0]}") == wanted


@pytest.mark.parametrize(("login", "role"), [("cid", wh.LOADER), ("ann", wh.TRANSFORMER)])
def test_a_login_without_the_role_is_told_which_it_needs(as_login, login, role):
    as_login(login)
    with pytest.raises(WarehouseError, match=r"roles daybook_loader and, .* daybook_transformer"):
        wh.connect(role=role)


def test_a_login_is_told_what_it_lacks(as_login, tmp_path, db):
    backup(tmp_path / "backup")
    as_login("cid")
    with pytest.raises(WarehouseError, match="has to be in the roles daybook_loader"):
        read_status(1)
    assert "has to be in the roles daybook_loader" in str(doctor.examine())
    db.execute("grant daybook_loader to ben")
    as_login("ben")
    with pytest.raises(WarehouseError, match="Restore it as the login that ran"):
        restore(tmp_path / "backup", replace=True)


def test_a_login_that_works_as_one_role_by_itself_lands_as_the_other(as_login, db):
    db.execute("grant daybook_loader to ben")
    db.execute("alter role ben set role = 'daybook_transformer'")
    as_login("ben")
    with wh.connect(role=wh.LOADER) as conn:
        assert value(conn, "select current_user") == wh.LOADER


def test_a_server_that_is_read_only_is_refused_in_one_sentence(db):
    db.execute("alter database daybook set default_transaction_read_only = on")
    with pytest.raises(WarehouseError, match="sessions are read only"):
        wh.connect(role=wh.LOADER)


def test_a_server_that_is_too_old_says_so_to_a_run(db, monkeypatch):
    monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", 150018)
    with pytest.raises(WarehouseError, match="PostgreSQL 16 to 18 are supported"):
        wh.connect(role=wh.LOADER)


def test_a_session_whose_settings_got_lost_is_refused_with_the_pooler_named(warehouse):
    with (
        psycopg.connect(warehouse, autocommit=True) as conn,
        pytest.raises(WarehouseError, match="PgBouncer"),
    ):
        session._take_role(conn, wh.LOADER)


# What is said of a driver's error


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("insert into held values ('ada@example.com'), ('ada@example.com')", "23505"),
        ("select 'ada@example.com'::int", "22P02"),
        ("select '{\"name\": ada@example.com}'::json", "22P02"),
        ("insert into held values ('ada@example.com' || null)", "23502"),
    ],
)
def test_a_drivers_error_is_told_without_a_value(db, statement, state):
    db.execute("create temp table held (email text primary key)")
    with pytest.raises(psycopg.Error) as found:
        db.execute(statement)
    error = plain(found.value)
    assert isinstance(error, DriverError)
    assert error.sqlstate == state
    assert "ada@" not in str(error)
    assert "PostgreSQL: " in str(error)


def test_a_lost_connection_is_told_in_one_line(warehouse):
    with wh.connect(autocommit=True) as lost, wh.connect(autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", [lost.info.backend_pid])
        with pytest.raises(psycopg.Error) as found:
            lost.execute("select 1")
    assert "\n" not in str(plain(found.value))


def test_the_cause_of_a_table_that_did_not_land_holds_no_row(db, tmp_path):
    """What Prefect keeps of an error is the whole chain of its causes."""
    shutil.copytree(SAMPLE / "day1", tmp_path / "day1")
    db.execute("alter table bronze.stg_groups alter name type varchar(1)")
    with pytest.raises(DaybookError) as found:
        land_day(tmp_path, parse_day("day1"), tables=["stg_groups"])
    texts, error = [value(db, "select error from bronze.load_batches")], found.value
    while error is not None:
        texts.append(str(error))
        error = error.__cause__
    assert not [text for text in texts if "DETAIL" in text or "CONTEXT" in text]


@pytest.mark.parametrize("fault", ["false", "signature::numeric > 0"])
def test_a_models_failure_row_holds_no_value_of_several_lines(world, fault):
    landed = '<a href="x">secret\nsecret, can\'t\nsecret DETAIL: x'
    world.land("day1", agents=[agent(1, signature=landed)])
    world.db.execute(f"alter table silver.agents add constraint broken check ({fault}) not valid")
    assert not world.dbt("run", "--select", "int_agents_records", "agents").success
    failures = "select error_message from metrics.pipeline_metrics where status = 'failure'"
    [message] = column(world.db, failures)
    assert "invalid input" in message or "violates check constraint broken" in message
    assert "secret" not in message and "DETAIL" not in message


def test_the_server_lets_only_the_homes_owner_in(shared_home):
    """Another process of the account that a server of root's runs as is nobody here."""
    lines = (shared_home / "pg" / "pg_hba.conf").read_text().split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules == ["local all all peer map=daybook"]
    assert server.answers(shared_home)
