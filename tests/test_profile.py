"""profiles.example.yml as dbt renders it, against what loaders/warehouse.py makes of the same
environment: dbt and the loaders are in one warehouse, whatever it is called."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import transform
from loaders import session, warehouse
from loaders.sources import PROJECT
from tests.watching import run_command

SYSTEM_USER = pwd.getpwuid(os.geteuid()).pw_name
URLS = [
    "postgresql://ann:secret@db.example.com:6543/daybook",
    "postgres://ann@db/daybook",
    "postgresql+psycopg://ann:secret@db/daybook",
    # escapes: of a slash, a percent, UTF-8, a quote and a backslash; and bare ones
    "postgresql://ann:p%40ss%2Fw%3Ard%25@db/daybook",
    "postgresql://a%2Bb:%70%61ss@db/day%20book",
    "postgresql://%C3%A4nne:%E2%82%ACuro@db/tagebuch_%C3%BC",
    "postgresql://änne:€uro%C3%BC@db/bücher",
    "postgresql://ann:quo%22te%5C'%0A{{%20x%20}}@db/daybook",
    'postgresql://ann:a"b\\c@db/daybook',
    "postgresql://ann:0042@db/daybook",
    "postgresql://ann:true@db/1",
    "postgresql://ann:a:b:c@db/daybook",
    "postgresql://ann:what?host=evil@db/daybook",
    "postgresql://ann:&port=1@db/daybook?application_name=x",
    # IPv6
    "postgresql://ann@[::1]:6543/daybook",
    "postgresql://[2001:db8::7]/daybook",
    "postgresql://ann:pw@[fe80::1%25eth0]/daybook",
    # sockets
    "postgresql:///daybook?host=/var/run/postgresql",
    "postgresql://ann@/daybook?host=/tmp/with%20blank/run&port=6543",
    "postgresql://ann@%2Ftmp%2Fa.b/daybook",
    # the query beats what stands before it, and its last word the others
    "postgresql://ann:pw@db:1111/other?host=there&port=2222&user=bob&password=b%26b&dbname=daybook",
    "postgresql://db/daybook?host=first&host=second",
    "postgresql://db/daybook?application_name=host%3Dx&sslmode=require",
    "postgresql://db/daybook?sslmode=verify-full&connect_timeout=3",
    # what is missing, or blank
    "postgresql://db",
    "postgresql://db/",
    "postgresql://db:6543",
    "postgresql://ann@db",
    "postgresql://ann@",
    "postgresql://ann:@db/daybook",
    "postgresql://:pw@db/daybook",
    "postgresql://@db/daybook",
    "postgresql://db?dbname=daybook",
    "postgresql://?host=db&user=ann",
    "postgresql://",
    "postgresql:///",
]


@pytest.fixture(autouse=True)
def _nothing_exported(monkeypatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PG", "DBT_", "DAYBOOK_")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("USER", SYSTEM_USER)


def by_dbt(target: str = "embedded") -> dict[str, Any]:
    """The profile's connection, rendered and checked by dbt's own code; the file is elsewhere."""
    from dbt.cli.requires import set_invocation_context
    from dbt.config.profile import Profile
    from dbt.config.renderer import ProfileRenderer
    from dbt.flags import set_from_args

    set_invocation_context(dict(os.environ))
    set_from_args(Namespace(LOG_PATH=PROJECT / "logs", PROFILES_DIR="/nowhere"), {})
    written = yaml.safe_load((PROJECT / "profiles.example.yml").read_text(encoding="utf-8"))
    profile = Profile.from_raw_profile_info(
        written["daybook"], "daybook", ProfileRenderer({}), target_override=target
    )
    found = profile.credentials.to_dict()
    names = ("host", "port", "user", "password", "sslmode")
    return {"dbname": found["database"], **{name: found[name] for name in names}}


def by_loaders() -> dict[str, Any]:
    """The same of what loaders/warehouse.py hands to libpq, and libpq takes from its variables."""
    asked = {} if warehouse.is_embedded() else session.parameters()
    found = {"host": "", "port": "5432", **session.target()}
    if warehouse.is_embedded():
        found["user"] = warehouse.TRANSFORMER  # the server's owner is for loaders.warehouse alone
    return {
        **{name: found[name] for name in ("dbname", "host", "user")},
        "port": int(found["port"]),
        "password": asked.get("password") or os.environ.get("PGPASSWORD", ""),
        "sslmode": asked.get("sslmode") or os.environ.get("PGSSLMODE", ""),
    }


@pytest.mark.parametrize("url", URLS)
def test_dbt_takes_a_url_apart_as_libpq_does(url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", url)
    assert by_dbt() == by_loaders()
    # what the URL leaves open comes from the variables
    variables = {"PGHOST": "elsewhere", "PGPORT": "7777", "PGUSER": "eve", "PGPASSWORD": "ever"}
    for name, text in (variables | {"PGSSLMODE": "disable"}).items():
        monkeypatch.setenv(name, text)
    assert by_dbt() == by_loaders()
    monkeypatch.setenv("PGDATABASE", "evening")
    assert by_dbt() == by_loaders()


@pytest.mark.parametrize(
    "variables",
    [
        {"PGHOST": "db"},
        {"PGHOST": "/tmp/run", "PGPORT": "6543", "PGUSER": "ann"},
        {"PGHOST": "db", "PGUSER": "ann", "PGPASSWORD": "p%40ss", "PGDATABASE": "day book"},
        {"PGHOSTADDR": "127.0.0.1", "PGUSER": "ann", "PGSSLMODE": "require"},
        # without a host the warehouse is our own, whatever else is set
        {},
        {"DATABASE_URL": "", "PGHOST": "", "DAYBOOK_HOME": ""},
        {"PGPORT": "6543", "PGUSER": "ann", "PGDATABASE": "other"},
        {"DAYBOOK_HOME": "/tmp/elsewhere"},
        {"DAYBOOK_HOME": "/tmp/elsewhere/"},
        {"DAYBOOK_HOME": "other/./home"},
        {"DAYBOOK_HOME": "../beside"},
        {"DAYBOOK_HOME": "/tmp//a/./b/."},
        {"DAYBOOK_HOME": "/tmp/" + "n" * 81},  # the longest whose socket is inside of it
        {"DAYBOOK_HOME": "/tmp/" + "n" * 82},
        {"DAYBOOK_HOME": "/tmp/" + "n" * 120 + "//"},
    ],
    ids=lambda variables: " ".join(f"{k}={v[:20]}" for k, v in variables.items()) or "nothing",
)
def test_dbt_finds_the_warehouse_that_the_loaders_find(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert by_dbt() == by_loaders()
    assert by_dbt(target="prod") == by_dbt(target="dev") == by_dbt()


@pytest.mark.parametrize(
    ("folder", "arguments"),
    [
        # as a dbt user calls it in the project, where set-up has put the file
        (".", []),
        (".", ["--log-path", "{elsewhere}/logs"]),
        # a copy of the file, far from the project
        ("models", ["--profiles-dir", "{elsewhere}"]),
        ("/", ["--project-dir", "{project}", "--profiles-dir", "{elsewhere}"]),
    ],
    ids=["in the project", "with a log path", "below the project", "from elsewhere"],
)
def test_dbt_itself_finds_the_embedded_warehouse_with_nothing_exported(
    folder, arguments, short_tmp
):
    project, elsewhere = short_tmp / "project", short_tmp / "elsewhere"
    (project / "models").mkdir(parents=True)
    elsewhere.mkdir()
    shutil.copy(PROJECT / "dbt_project.yml", project)
    profile = (PROJECT / "profiles.example.yml").read_text(encoding="utf-8")
    for place in (project, elsewhere):
        # nothing runs there: to try again costs ten seconds
        (place / "profiles.yml").write_text(profile.replace("retries: 3", "retries: 0"), "utf-8")
    dbt = Path(sys.executable).with_name("dbt")
    options = [each.format(project=project, elsewhere=elsewhere) for each in arguments]
    bare = {name: os.environ[name] for name in ("PATH", "HOME")}
    done = run_command(dbt, "debug", "--connection", *options, cwd=project / folder, env=bare)
    assert f"host: {project}/.daybook/run" in done.stdout


def test_a_parse_beside_the_landing_writes_no_variable_that_its_threads_read(tmp_path, monkeypatch):
    written: list[bytes] = []
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(os, "putenv", lambda name, _: written.append(name))
    monkeypatch.setattr(os, "unsetenv", written.append)
    with transform._dbt_environment():
        assert written == []
    assert written == []


def test_a_service_file_that_dbt_cannot_read_is_not_taken_for_the_embedded_warehouse(monkeypatch):
    monkeypatch.setenv("PGSERVICE", "daybook")
    with pytest.raises(Exception, match="PGHOST"):
        by_dbt()
