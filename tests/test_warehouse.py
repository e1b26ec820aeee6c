"""Where the warehouse is, what a connection carries, and what migrate leaves."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import psycopg
import pytest

from loaders import session, sources, tables
from loaders import warehouse as wh
from loaders.days import Day, parse_day
from loaders.errors import WarehouseError
from loaders.sources import PROJECT
from loaders.sql import statement
from tests.watching import column, insert, run_python, tuples, value

NEW_PARTITION = (
    "create table bronze.stg_cards_p1 partition of bronze.stg_cards for values in ('2026-01-05')"
)
NOBODY_LISTENS = "postgresql://ann:hunter2@127.0.0.1:1/books"


def settings(conn: psycopg.Connection, *names: str) -> list[str | None]:
    return [value(conn, "select current_setting(%s, true)", [name]) for name in names]


# Where it is


def test_the_embedded_server_is_used_when_nothing_names_another(monkeypatch):
    monkeypatch.setenv("DAYBOOK_HOME", "/tmp/some home")
    assert wh.is_embedded()
    assert wh.uri() == "postgresql://daybook@/daybook?host=/tmp/some%20home/run&port=5432"


def test_a_relative_home_is_below_the_project_and_the_default_is_dot_daybook(monkeypatch):
    monkeypatch.setenv("DAYBOOK_HOME", "elsewhere")
    assert wh.home() == PROJECT / "elsewhere"
    monkeypatch.setenv("DAYBOOK_HOME", "")
    assert wh.home() == PROJECT / ".daybook"


@pytest.mark.parametrize("name", ["DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE"])
def test_any_variable_that_names_a_server_beats_the_embedded_one(monkeypatch, name):
    monkeypatch.setenv(name, NOBODY_LISTENS)
    assert not wh.is_embedded()


def test_libpq_variables_name_the_server_and_database_url_beats_them(monkeypatch, warehouse):
    def export(**variables: str) -> None:
        for name, text in variables.items():
            monkeypatch.setenv(name, text)

    socket = psycopg.conninfo.conninfo_to_dict(wh.uri())["host"]
    export(PGHOST="127.0.0.1", PGPORT="1", PGUSER="ann")
    with wh.connect() as conn:
        assert conn.info.dbname == "daybook"
    monkeypatch.delenv("DATABASE_URL")
    export(PGPASSWORD="hunter2", PGDATABASE="bo/oks")
    assert wh.uri() == "postgresql://ann@/bo%2Foks?host=127.0.0.1&port=1"
    export(PGHOST=socket, PGPORT="5432", PGUSER="daybook", PGDATABASE="daybook")
    with wh.connect() as conn:
        assert conn.info.dbname == "daybook"


def test_sqlalchemys_spelling_of_the_url_is_understood(monkeypatch, warehouse):
    monkeypatch.setenv("DATABASE_URL", warehouse.replace("postgresql:", "postgresql+psycopg:"))
    with wh.connect() as conn:
        assert conn.info.dbname == "daybook"


# The handshake


def test_a_failed_handshake_names_host_port_database_and_user_never_the_password(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", NOBODY_LISTENS)
    with pytest.raises(WarehouseError) as refused:
        wh.connect()
    assert "host 127.0.0.1, port 1, database books, user ann" in str(refused.value)
    assert str(refused.value).endswith("Connection refused.")
    assert "hunter2" not in str(refused.value)
    assert refused.value.exit_code == 1


@pytest.mark.parametrize("command", ["start", "status", "stop", "migrate"])
def test_no_command_prints_the_password(monkeypatch, command):
    monkeypatch.setenv("DATABASE_URL", NOBODY_LISTENS)
    done = run_python("-m", "loaders.warehouse", command)
    assert "hunter2" not in done.stdout + done.stderr
    assert "host 127.0.0.1, port 1, database books" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if command in ("start", "migrate") else 0)


@pytest.mark.parametrize(
    "url", ["hunter2", "//a:%hunter2@h", "//a@hunter2@h", "//h:hunter2", "//a:1/hunter2@h"]
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url.replace("//", "postgres://"))
    for ask in (wh.connect, wh.where, wh.start):
        with pytest.raises(WarehouseError) as refused:
            ask()
        assert "hunter2" not in str(refused.value)
        assert "DATABASE_URL" in str(refused.value) and refused.value.exit_code == 2


def test_a_server_that_is_starting_up_is_waited_for(monkeypatch, warehouse):
    connect, refusals = psycopg.connect, iter(["starting up", "in recovery mode"])

    def starting(*arguments, **named):
        if refusal := next(refusals, None):
            raise psycopg.OperationalError(f"FATAL:  the database system is {refusal}")
        return connect(*arguments, **named)

    monkeypatch.setattr(psycopg, "connect", starting)
    wh.connect().close()


def test_an_unknown_database_is_named(monkeypatch, warehouse):
    monkeypatch.setenv("DATABASE_URL", warehouse.replace("/daybook?", "/no_such_database?"))
    with pytest.raises(WarehouseError, match="database no_such_database"):
        wh.connect()


def test_an_external_server_is_not_ours_to_stop(warehouse):
    with pytest.raises(WarehouseError, match="not ours to stop"):
        wh.stop()
    assert wh.status()[0]


# What a connection carries


@pytest.mark.parametrize("timezone_of", ["machine", "client", "options", "database", "role"])
def test_every_session_is_utc_wherever_asia_kolkata_is_set(db, monkeypatch, timezone_of):
    if timezone_of == "machine":
        monkeypatch.setenv("TZ", "Asia/Kolkata")
    elif timezone_of == "client":
        monkeypatch.setenv("PGTZ", "Asia/Kolkata")
        monkeypatch.setenv("PGDATESTYLE", "German")
    elif timezone_of == "options":
        monkeypatch.setenv("PGOPTIONS", "-c TimeZone=Asia/Kolkata -c DateStyle=German")
    elif timezone_of == "database":
        db.execute("alter database daybook set timezone = 'Asia/Kolkata'")
        db.execute("alter database daybook set datestyle = 'German'")
    else:
        db.execute("alter role daybook in database daybook set timezone = 'Asia/Kolkata'")
    query = "select current_setting('TimeZone'), '2026-01-05 00:00'::timestamptz::text"
    for autocommit in (True, False):
        with wh.connect(autocommit=autocommit) as conn:
            conn.rollback()
            assert tuples(conn, query) == [("UTC", "2026-01-05 00:00:00+00")]


def test_the_runs_context_reaches_sql_whatever_its_characters(warehouse):
    run = r"run 1 \ 'x' -c work_mem=1 " + "\t\n"
    with wh.connect(day=parse_day("day3"), flow_run_id=run) as conn:
        assert settings(conn, "app.day", "app.flow_run_id") == ["1970-01-04", run]
    with wh.connect() as conn:
        assert settings(conn, "app.day") == [None]


def test_the_users_own_pgoptions_and_url_options_are_kept(monkeypatch, warehouse):
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=5MB -c statement_timeout=7s")
    monkeypatch.setenv("DATABASE_URL", warehouse + "&options=" + quote("-c geqo=off"))
    names = ("work_mem", "statement_timeout", "geqo", "lock_timeout", "app.day")
    with wh.connect(day=parse_day("day1")) as conn:
        assert settings(conn, *names) == ["5MB", "7s", "off", "1min", "1970-01-02"]


def test_pgoptions_alone_carries_the_context_to_any_client(monkeypatch, warehouse):
    options = wh.pgoptions(parse_day("2026-01-05"), "run 1")
    monkeypatch.setenv("PGOPTIONS", options)
    names = ("app.day", "app.flow_run_id", "TimeZone", "statement_timeout")
    with psycopg.connect(warehouse) as conn:
        assert settings(conn, *names) == ["2026-01-05", "run 1", "UTC", "1h"]
    assert "client_connection_check_interval=500ms" in options


def test_every_connection_has_a_name_and_timeouts(warehouse):
    names = ("application_name", *session.TIMEOUTS, "client_connection_check_interval")
    with wh.connect(application_name="daybook test") as conn:
        assert settings(conn, *names) == ["daybook test", "1h", "1min", "10min", "500ms"]


# Ready or not


def test_migrate_leaves_schemas_control_tables_and_every_declared_table(db):
    schemas = {"bronze", "intermediate", "silver", "quarantine", "metrics", "marts"}
    assert schemas <= set(column(db, "select nspname from pg_namespace"))
    for name, table in sources.declared_tables().items():
        described = db.execute(f"select * from bronze.{name}").description
        assert [each.name for each in described] == [*table.column_names, *tables.LINEAGE]
    wh.check_ready(db)


def test_migrate_again_changes_nothing(db):
    row = {"flow_run_id": "r", "day": "2026-01-05", "table_name": "stg_agents"}
    insert(db, "bronze.load_batches", **row, status="running")
    relations = "select oid, relacl from pg_class order by oid"
    before = tuples(db, relations)
    assert wh.migrate() == []
    assert tuples(db, relations) == before
    assert value(db, "select count(*) from bronze.load_batches") == 1


def test_migrate_makes_a_schema_that_was_dropped_with_its_rights(db):
    db.execute("drop schema marts cascade")
    assert wh.migrate() == []
    assert value(db, "select has_schema_privilege('daybook_transformer', 'marts', 'create')")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_name_is_refused(db, monkeypatch, encoding):
    db.execute(
        f"create database narrow encoding '{encoding}' locale 'C' locale_provider libc"
        " template template0"
    )
    monkeypatch.setenv("DATABASE_URL", wh.uri().replace("/daybook?", "/narrow?"))
    try:
        with pytest.raises(WarehouseError, match=f"encoding is {encoding}.*encoding 'UTF8'"):
            wh.migrate()
    finally:
        db.execute("drop database narrow with (force)")


def test_two_migrations_at_once_make_one_warehouse(db, monkeypatch):
    db.execute("create database empty")
    monkeypatch.setenv("DATABASE_URL", wh.uri().replace("/daybook?", "/empty?"))
    try:
        done = [
            subprocess.Popen([sys.executable, "-m", "loaders.warehouse", "migrate"], cwd=PROJECT)
            for _ in range(2)
        ]
        assert [process.wait(60) for process in done] == [0, 0]
        with wh.connect() as conn:
            wh.check_ready(conn)
    finally:
        db.execute("drop database empty with (force)")


def test_a_warehouse_that_is_behind_says_what_to_run(db):
    db.execute("update bronze.alembic_version set version_num = '0000'")
    with pytest.raises(WarehouseError, match=r"first edition.*daybook warehouse migrate"):
        wh.check_ready(db)
    db.execute("drop table bronze.alembic_version")
    with pytest.raises(WarehouseError, match="no control tables: run daybook"):
        wh.check_ready(db)


def test_a_warehouse_that_is_newer_than_the_code_is_left_alone(db):
    db.execute("update bronze.alembic_version set version_num = '9999'")
    for ask in (lambda: wh.check_ready(db), wh.migrate, wh.start):
        with pytest.raises(WarehouseError, match="newer than this code"):
            ask()


def test_a_newly_declared_table_and_column_arrive_with_the_next_start(db):
    db.execute("drop table bronze.stg_cards")
    db.execute("alter table bronze.stg_groups drop column description")
    db.execute(
        "create table bronze.stg_groups_p20260105 partition of bronze.stg_groups "
        "for values in ('2026-01-05')"
    )
    with pytest.raises(WarehouseError, match=r"stg_groups\.description, stg_cards"):
        wh.check_ready(db)
    wh.start()
    wh.check_ready(db)
    db.execute("select description from bronze.stg_groups_p20260105")


def test_functions_of_older_code_are_made_anew_by_the_next_start_and_newer_ones_stay(db):
    rest = "(landed text) returns text language sql immutable parallel safe return landed"
    db.execute(f"create or replace function bronze.id_text {rest}")
    db.execute("comment on table bronze.alembic_version is '99'")
    with pytest.raises(WarehouseError, match=r"functions and rights are newer .* update it"):
        wh.start()
    assert value(db, "select bronze.id_text(' +7.0')") == " +7.0"
    db.execute("comment on table bronze.alembic_version is null")  # as older code left it
    with pytest.raises(WarehouseError, match=r"functions and rights.*daybook warehouse migrate"):
        wh.check_ready(db)
    wh.start()
    wh.check_ready(db)
    assert value(db, "select bronze.id_text(' +7.0')") == "7"


def test_what_is_blank_or_a_letter_is_so_in_any_locale(db, monkeypatch):
    """In "C" Postgres knows ASCII's alone, in en_US no blank that keeps words together."""
    db.execute("create database narrow locale 'C' locale_provider libc template template0")
    monkeypatch.setenv("DATABASE_URL", wh.uri().replace("/daybook?", "/narrow?"))
    try:
        wh.migrate()
        with wh.connect(autocommit=True) as narrow:
            texts = ["\u00a09001\u2007", "\u3000+7.0", "\u00a0#N/A", "\u00a0{}", "\u00a0\u0085"]
            ids = column(narrow, "select bronze.id_text(t) from unnest(%s::text[]) as t", [texts])
            assert ids == ["9001", "7", None, None, None]
            told = ["paid by Ödön.", "9001,\u00a0Ödön ,x"]
            for conn, texts in (narrow, told), (db, [*told, "（Ödön）", "Ödön，b", "user→Ödön✓"]):
                names = {"kinds": ["user"], "values": ["Ödön"], "salt": "s"}
                conn.execute(statement("remember_forgotten").encode(), names)
                tells = "select bool_and(bronze.tells_of_forgotten(t)) from unnest(%s::text[]) as t"
                assert value(conn, tells, [texts])
    finally:
        db.execute("drop database narrow with (force)")


def test_functions_and_rights_have_a_version():
    content = b"".join((wh.MIGRATIONS / name).read_bytes() for name in wh.RUN_WHOLE)
    # where it differs raise the version, and only then write the new hash here
    known = {1: "968d09597499", 2: "d4d848e05a95", 3: "de0babb6c57d"}
    assert known[wh.RUN_WHOLE_VERSION] == hashlib.sha256(content).hexdigest()[:12]


def test_a_failed_migration_leaves_nothing_behind(db, monkeypatch):
    db.execute("drop schema bronze, metrics cascade")
    monkeypatch.setattr(tables, "LINEAGE", {"_day": "no_such_type"})
    with pytest.raises(WarehouseError, match="no_such_type"):
        wh.migrate()
    assert value(db, "select to_regnamespace('bronze')") is None


# Who may do what


def as_role(conn: psycopg.Connection, role: str, statement: str) -> str:
    """ "done" or the reason why `role` may not."""
    try:
        with conn.transaction():
            conn.execute(f"set local role {role}")
            conn.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return "refused"
    return "done"


@pytest.mark.parametrize(
    ("role", "statement", "outcome"),
    [
        ("daybook_loader", "insert into bronze.calendar (kind) values ('dated')", "done"),
        ("daybook_loader", "select from bronze.stg_agents", "done"),
        ("daybook_loader", NEW_PARTITION, "done"),
        ("daybook_loader", "select from silver.agents", "refused"),
        ("daybook_loader", "update bronze.alembic_version set version_num = '1'", "refused"),
        ("daybook_transformer", "select from bronze.stg_agents", "done"),
        ("daybook_transformer", NEW_PARTITION, "refused"),
        ("daybook_transformer", "delete from bronze.load_batches", "refused"),
        ("daybook_transformer", "delete from metrics.applied_batches", "done"),
        ("daybook_transformer", "create table silver.new (n int)", "done"),
        ("daybook_reader", "select from metrics.pipeline_metrics", "done"),
        ("daybook_reader", "select from marts.made_later", "done"),
        ("daybook_reader", "delete from marts.made_later", "refused"),
        ("daybook_reader", "select from silver.agents", "refused"),
        ("daybook_reader", "select from quarantine.agents", "refused"),
        ("daybook_reader", "select from bronze.stg_agents", "refused"),
    ],
)
def test_each_role_may_do_its_own_work_only(db, role, statement, outcome):
    for name in ("silver.agents", "quarantine.agents", "marts.made_later"):
        db.execute(f"create table {name} (email text)")
    assert as_role(db, role, statement) == outcome


def test_a_login_that_may_not_make_roles_goes_on_without_and_says_so(db, monkeypatch):
    db.execute("create role plain login")
    db.execute("create database plain owner plain")
    url = wh.uri().replace("daybook@", "plain@").replace("/daybook?", "/plain?")
    monkeypatch.setenv("DATABASE_URL", url)
    try:
        for role in ("loader", "transformer", "reader"):
            db.execute(f"alter role daybook_{role} rename to hidden_{role}")
        (said,) = wh.migrate()
        assert "were not set up" in said
        with wh.connect() as conn:
            wh.check_ready(conn)
    finally:
        for role in ("loader", "transformer", "reader"):
            db.execute(f"alter role hidden_{role} rename to daybook_{role}")
        db.execute("drop database plain with (force)")
        db.execute("drop role plain")


def test_many_connections_at_once_are_fine(warehouse):
    def day_of_a_connection(day: Day) -> str | None:
        with wh.connect(day=day) as conn:
            return settings(conn, "app.day")[0]

    days = [parse_day(f"day{n}") for n in range(1, 17)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(day_of_a_connection, days))
    assert found == [day.date.isoformat() for day in days]
