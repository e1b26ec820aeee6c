"""The strategy `upsert` under dbt's own tests for adapters, in their project."""

from __future__ import annotations

import os
from typing import Any

import pytest
from dbt.tests.adapter.basic.test_incremental import BaseIncremental
from dbt.tests.adapter.incremental import test_incremental_unique_id as unique_id
from dbt.tests.adapter.incremental.test_incremental_on_schema_change import (
    BaseIncrementalOnSchemaChange,
)
from dbt.tests.fixtures.project import *  # noqa: F403 -- what dbt's tests begin with
from dbt.tests.util import run_dbt

from loaders import server
from loaders.sources import PROJECT
from tests.conftest import DATABASE, MIGRATED, copy_database

pytestmark = pytest.mark.slow
KEY = ["state", "county", "city"]


@pytest.fixture(scope="class")
def dbt_profile_target(shared_home) -> dict[str, Any]:
    copy_database(shared_home, MIGRATED)
    host = server.address(shared_home)["host"]
    at = {"host": host, "port": 5432, "user": "daybook", "pass": "", "dbname": DATABASE}
    return {"type": "postgres", "threads": 1, **at}


@pytest.fixture(scope="class")
def macros() -> dict[str, str]:
    """Daybook's own, but for where its schemas are."""
    found = (PROJECT / "macros").glob("*.sql")
    return {path.name: path.read_text() for path in found if "schema" not in path.name}


@pytest.fixture(autouse=True, scope="class")
def _profiles_folder() -> Any:
    """dbt's fixtures set it, and leave it set."""
    before = os.environ.get("DBT_PROFILES_DIR")
    yield
    os.environ.pop("DBT_PROFILES_DIR", None)
    if before is not None:
        os.environ["DBT_PROFILES_DIR"] = before


def keyed(*columns: str) -> dict[str, Any]:
    """What a model needs to be written by upsert: a key."""
    return {"+incremental_strategy": "upsert", "+unique_key": [*columns]}


class TestIncremental(BaseIncremental):
    @pytest.fixture(scope="class")
    def project_config_update(self) -> dict[str, Any]:
        return {"name": "incremental", "models": {"incremental": keyed("id")}}


class TestOnSchemaChange(BaseIncrementalOnSchemaChange):
    @pytest.fixture(scope="class")
    def project_config_update(self) -> dict[str, Any]:
        return {"models": {"test": keyed("id")}}


class TestUniqueKey(unique_id.SubBaseIncrementalUniqueKey):
    """Their keys that are unique: what is not, no upsert takes."""

    @pytest.fixture(scope="class")
    def project_config_update(self) -> dict[str, Any]:
        upsert = {"+incremental_strategy": "upsert"}
        trinary = {"trinary_unique_key_list": keyed(*KEY), "expected": {"+enabled": True}}
        trinary["nontyped_trinary_unique_key_list"] = keyed(*KEY)
        return {"models": {"test": upsert | trinary}}

    test__bad_unique_key = unique_id.BaseIncrementalUniqueKey.test__bad_unique_key
    test__bad_unique_key_list = unique_id.BaseIncrementalUniqueKey.test__bad_unique_key_list
    test__trinary = unique_id.BaseIncrementalUniqueKey.test__trinary_unique_key_list
    test__no_update = unique_id.BaseIncrementalUniqueKey.test__trinary_unique_key_list_no_update

    @pytest.mark.parametrize("keys", ["no_unique_key", "empty_str_unique_key"])
    def test_a_model_without_a_key_is_refused(self, project, keys):
        run_dbt(["seed", "--select", "seed", "--full-refresh"])
        run_dbt(["run", "--select", keys, "--full-refresh"])
        (again,) = run_dbt(["run", "--select", keys], expect_pass=False).results
        assert "upsert needs config(unique_key=" in again.message


class TestOrder:
    """A model of one's own, with nothing but a key and an order, whose names need quotes."""

    @pytest.fixture(scope="class")
    def project_config_update(self) -> dict[str, Any]:
        upsert = keyed("Group") | {"+materialized": "incremental", "+meta": {"order": ["At"]}}
        return {"models": {"test": upsert}}

    @pytest.fixture(scope="class")
    def models(self) -> dict[str, str]:
        said = "values (1, {{ var('at') }}, '{{ var('said') }}')"
        return {"mine.sql": f'select * from ({said}) as given ("Group", "At", said)'}

    def test_the_last_write_wins_whatever_comes_last(self, project):
        for at, said in ((2, "first"), (3, "newer"), (1, "late")):
            run_dbt(["run", "--vars", f"{{at: {at}, said: {said}}}"])
        found = project.run_sql("select said from {schema}.mine", fetch="all")
        assert found == [("newer",)]


class TestSeed:
    """One whose types are written otherwise than Postgres shows them."""

    @pytest.fixture(scope="class")
    def seeds(self) -> dict[str, str]:
        return {"mine.csv": "Id,rate,name,at,price\n1,1.5,ab,2026-01-05T00:00Z,1.25\n"}

    @pytest.fixture(scope="class")
    def project_config_update(self) -> dict[str, Any]:
        types = {"rate": "float8", "name": "{{ var('name', 'varchar(3)') }}"}
        types |= {"at": "timestamptz", "price": "numeric(5,2)"}
        return {"seeds": {"+column_types": types}}

    def test_a_full_refresh_keeps_it_and_its_views_while_its_columns_stay(self, project):
        run_dbt(["seed"])
        project.run_sql("create view {schema}.reads as select * from {schema}.mine")
        run_dbt(["seed", "--full-refresh"])
        assert project.run_sql("select count(*) from {schema}.reads", fetch="one") == (1,)
        run_dbt(["seed", "--full-refresh", "--vars", "{name: varchar(4)}"])
        found = "select to_regclass('{schema}.reads'), to_regclass('{schema}.mine') is null"
        assert project.run_sql(found, fetch="one") == (None, False)


class TestKeyTwice:
    """A model whose own unique index is not of its key."""

    @pytest.fixture(scope="class")
    def project_config_update(self):
        other = {
            "+materialized": "incremental",
            "+indexes": [{"columns": ["value"], "unique": True}],
        }
        return {"models": {"test": keyed("id") | other}}

    @pytest.fixture(scope="class")
    def models(self):
        values = "unnest(string_to_array('{{ var('values') }}', '|')) as value"
        return {"mine.sql": f"select 1 as id, {values}"}

    def test_a_select_that_brings_a_held_key_twice_is_an_error(self, project):
        run_dbt(["run", "--vars", "{values: a}"])
        (again,) = run_dbt(["run", "--vars", "{values: b|c}"], expect_pass=False).results
        assert "cannot affect row a second time" in again.message
        assert project.run_sql("select value from {schema}.mine", fetch="all") == [("a",)]
