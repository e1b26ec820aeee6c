"""A setting that can't be used ends a command with 2 and one line that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows import api, transform
from flows.cli import main
from flows.options import Options
from loaders import cluster, retention, s3, server, warehouse
from loaders.errors import SettingError, UsageError
from loaders.session import home
from loaders.sources import SETTING

DAY = "tests/sample"
COMMANDS = (
    *(["status"], ["warehouse", "status"]),
    *(["land", "day1", "--data", DAY], ["run", "day1", "--data", DAY]),
)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PGPORT", "foo", 'invalid integer value "foo"'),
        ("PGPORT", "99999", 'invalid port number: "99999".'),
        ("PGSSLMODE", "foo", 'invalid sslmode value: "foo".'),
        ("PGSERVICE", "foo", 'definition of service "foo" not found.'),
        ("PGHOSTADDR", "foo", "could not parse network address"),
        ("DAYBOOK_HOME", "pyproject.toml", "DAYBOOK_HOME is no folder"),
        ("DAYBOOK_HOME", "pyproject.toml/x", "DAYBOOK_HOME is no folder"),
        *(("DAYBOOK_HOME", f"/nonexistent/a{sign}b", "DAYBOOK_HOME can't") for sign in '"$`\\,'),
    ],
)
def test_one_that_says_which_warehouse_is_refused_in_one_line(
    name, value, said, monkeypatch, capsys
):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    if name.startswith("PG"):
        monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv(name, value)
    for words in COMMANDS:
        assert main(words) == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and said in line
    assert main(["doctor"]) == 1
    assert said.split()[0] in capsys.readouterr().out, "not only the kind of error"


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("DAYBOOK_FX_PRIORITY", "foo", transform.manifest),
        ("DBT_TARGET", "foo", transform.manifest),
        ("DBT_TARGET", "foo", transform.document),
        ("DBT_PROFILE", "foo", transform.manifest),
        ("DBT_PROFILE or DBT_TARGET", "foo", transform.manifest),
        ("DBT_PROJECT_DIR", "/foo", transform.manifest),
        ("DBT_PROJECT_DIR", "tests", transform.manifest),
        ("DBT_PROFILES_DIR", "/foo", transform.manifest),
        ("DAYBOOK_DBT_RUNNER", "foo", Options(DAY).checked),
        ("DBT_TARGET", "dev", Options(DAY).checked),
        ("DAYBOOK_KEEP_DAYS", "99999999999", Options(DAY).checked),
        ("PREFECT_SERVER_API_PORT", "foo", api.port),
        ("PREFECT_SERVER_API_PORT", "65536", api.port),
        ("PREFECT_API_URL", "http://localhost:foo/api", api.connection),
        ("AWS_ENDPOINT_URL", "ftp://localhost", s3.filesystem.__wrapped__),
        ("AWS_ENDPOINT_URL", "http://localhost:foo", s3.filesystem.__wrapped__),
    ],
)
def test_one_that_a_run_reads_is_refused_by_its_name(
    name, value, read, monkeypatch, tmp_path, dbt_folder
):
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path))
    monkeypatch.setenv("DBT_PROFILES_DIR", str(dbt_folder))
    monkeypatch.setenv("DBT_PROFILE", "daybook")  # dbt's messages on a target quote it, too
    for each in name.split(" or "):
        monkeypatch.setenv(each, value)
    with pytest.raises(UsageError, match=f"^{name} ") as refused:
        read()
    assert re.fullmatch(r".*[^:]", str(refused.value)) and refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("file", "why"),
    [("nowhere", "No such file"), (".", "Is a directory"), ("latin.yml", "it is not UTF-8")],
)
def test_an_overlay_that_cannot_be_read_is_told_with_what_named_it(
    file, why, tmp_path, monkeypatch
):
    (tmp_path / "latin.yml").write_bytes(b"\xe4")
    overlay = str(tmp_path / file)
    for named, options in (("--sources", Options(DAY, sources=overlay)), (SETTING, Options(DAY))):
        monkeypatch.setenv(SETTING, overlay)
        with pytest.raises(UsageError, match=f"^{named}: .* can't be read: {why}"):
            options.checked()


def test_an_empty_one_is_as_if_it_were_not_there(monkeypatch):
    for name in ("DAYBOOK_PG_MAJOR", "DAYBOOK_KEEP_DAYS", "DAYBOOK_DBT_RUNNER", "DAYBOOK_SOURCES"):
        monkeypatch.setenv(name, "")
    assert cluster._major(Path()) == 18
    assert retention.keep_days() is None
    assert Options(DAY).checked().sources is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGOPTIONS", "foo"),
        ("PGOPTIONS", "-c work_mem=foo"),
        ("PGOPTIONS", "-c foo"),
        ("PGTZ", "foo"),
        ("PGGEQO", "foo"),
        ("DATABASE_URL", "{url}&options=-c%20work_mem%3Dfoo"),
    ],
)
def test_one_that_the_server_refuses_is_told_as_it_is(
    name, value, warehouse_url, monkeypatch, capsys
):
    monkeypatch.setenv(name, value.format(url=warehouse_url))
    assert server.answers(home()), "a server that lets others in need not be waited for"
    for words in COMMANDS:
        assert main(words) == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and line.endswith(f". Look at {name}.")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PGTARGETSESSIONATTRS", "foo", 'invalid target_session_attrs value: "foo"'),
        ("PGTARGETSESSIONATTRS", "standby", "server is not in hot standby mode"),
        ("PGREQUIREAUTH", "scram-sha-256", "authentication method requirement"),
        ("PGCHANNELBINDING", "require", "channel binding required"),
        ("PGGSSENCMODE", "require", "GSSAPI encryption required"),
        ("PGREQUIREPEER", "foo", 'requirepeer specifies "foo"'),
    ],
)
def test_one_that_libpq_refuses_is_not_waited_for_in_vain(
    name, value, said, shared_home, monkeypatch
):
    monkeypatch.setenv("DAYBOOK_HOME", str(shared_home))
    monkeypatch.setenv(name, value)
    assert server.answers(shared_home)
    with pytest.raises(SettingError, match=said):
        warehouse.connect()
