"""Run the checks of a day with Great Expectations, keep what they found, and say what failed."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.checks.docs import write_docs
from flows.checks.quarantine import IS_A_KEY, SAMPLE, sample_keys
from loaders import warehouse
from loaders.days import Day
from loaders.errors import DaybookError

if TYPE_CHECKING:
    from psycopg import Connection


SUITES = Path(__file__).parent  # a file each, as Great Expectations keeps them
SEVERITIES = {"critical": "error", "warning": "warn"}  # Great Expectations' words and ours

# {"name", "expectations", "meta"}, and of the suite's meta: `query`, the rows of the day that is
# in app.day; `table`, where they are from; `keys`, the columns that may be shown of a failing
# row; `calendar`, dated or numbered, where the suite is for such days alone.
Suite = dict[str, Any]


class CheckError(DaybookError):
    """Checks of severity `error` failed. `checks`: their names, without any value of data."""

    def __init__(self, failed: list[Checked]) -> None:
        one = len(failed) == 1
        super().__init__(
            f"{len(failed)} check{'' if one else 's'} failed; what was built stays as it is:\n"
            + "\n".join(f"  {found.in_one_line}" for found in failed)
        )
        self.checks = [f"{found.suite}.{found.check}" for found in failed]


@dataclass(frozen=True)
class Checked:
    """What one check found. `sample_keys`: keys of up to 20 failing rows."""

    suite: str
    check: str
    table: str
    description: str
    severity: str
    success: bool
    observed: str
    unexpected_count: int | None
    sample_keys: list[dict[str, Any]]

    @property
    def in_one_line(self) -> str:
        """One line: what failed, where, how many, and the keys of a few rows."""
        keys = "; ".join(shown(key) for key in self.sample_keys[:3])
        where = f"{self.suite}.{self.check} on {self.table}"
        return f"{where}: {self.description}; found {self.observed}" + (
            f" [{keys}]" if keys else ""
        )


def shown(key: dict[str, Any]) -> str:
    """A row's key as text; ids are told apart by name where there are several."""
    several = sum(name.endswith("_id") for name in key) > 1
    return " ".join(f"{name} {value}" if several else str(value) for name, value in key.items())


def declared_suites() -> list[Suite]:
    """Every suite, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SUITES.glob("*.json"))]


def suites_of(day: Day) -> list[Suite]:
    """The suites that a day is held to: nothing can be said of the age of a numbered day."""
    calendars = (None, day.calendar)
    return [suite for suite in declared_suites() if suite["meta"].get("calendar") in calendars]


def check_day(day: Day, flow_run_id: str, *, docs: Path | None = None) -> list[Checked]:
    """Hold what a day built to its suites, and write metrics.check_results.

    `docs`: the folder that gets Great Expectations' own pages. Raises WarehouseError. Failing
    checks are in the result, not raised: see `raise_failed`.
    """
    gx = great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}

    def connect() -> Connection:
        return warehouse.connect(
            application_name=f"daybook {flow_run_id}",
            flow_run_id=flow_run_id,
            day=day,
            role=warehouse.TRANSFORMER,
        )

    # Our own connections: day, run, time-outs and the password stay where they are kept for all.
    source = context.data_sources.add_postgres(
        "warehouse",
        connection_string="postgresql+psycopg://daybook@localhost/daybook",  # a form; see creator
        create_temp_table=True,  # a suite's query runs once, not once per expectation
        kwargs={"creator": connect, "pool_size": 5, "max_overflow": 0},
    )
    try:
        validated = [(suite, _validate(gx, context, source, suite)) for suite in suites_of(day)]
        if docs is not None:
            described = {suite["name"]: suite["meta"]["description"] for suite in declared_suites()}
            write_docs(context, docs, described)
    finally:
        source.get_engine().dispose()
    with connect() as connection:
        found = [
            _checked(suite, result.to_json_dict(), connection, day)
            for suite, validation in validated
            for result in validation.results
        ]
        _keep(connection, found, day, flow_run_id)
    return found


def raise_failed(found: list[Checked]) -> None:
    """Raises CheckError when a check of severity `error` failed."""
    failed = [checked for checked in found if not checked.success and checked.severity == "error"]
    if failed:
        raise CheckError(failed)


def great_expectations() -> Any:
    """The library, which calls nobody and logs no more than errors."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    main = sys.modules["__main__"]
    nameless = not hasattr(main, "__file__")
    if nameless:  # PySpark, where it is installed, takes that for its doctests and ends the process
        main.__file__ = "-c"
    try:
        import great_expectations
    finally:
        if nameless:
            del main.__file__
    return great_expectations


def _validate(gx: Any, context: Any, source: Any, suite: Suite) -> Any:
    asset = source.add_query_asset(suite["name"], query="\n".join(suite["meta"]["query"]))
    definition = gx.ValidationDefinition(
        name=suite["name"],
        data=asset.add_batch_definition_whole_table("day"),
        suite=context.suites.add(gx.ExpectationSuite(**suite)),
    )
    return context.validation_definitions.add(definition).run(
        result_format={
            "result_format": "SUMMARY",  # COMPLETE would fetch every failing row
            "unexpected_index_column_names": suite["meta"]["keys"],
            "partial_unexpected_count": SAMPLE,
        }
    )


def _checked(suite: Suite, result: dict[str, Any], connection: Connection, day: Day) -> Checked:
    config, counted = result["expectation_config"], result["result"]
    rows = [
        {name: _key(name, row[name]) for name in suite["meta"]["keys"]}
        for row in counted.get("partial_unexpected_index_list") or []
    ]
    if rows and config["meta"].get("sample") == "quarantine":
        rows = sample_keys(connection, day, [row["table_name"] for row in rows]) or rows
    return Checked(
        suite=suite["name"],
        check=config["meta"]["check"],
        table=suite["meta"]["table"],
        description=config["description"],
        severity=SEVERITIES[config["severity"]],
        success=bool(result["success"]),
        observed=_observed(result),
        unexpected_count=counted.get("unexpected_count"),
        sample_keys=[] if result["success"] else rows[:SAMPLE],
    )


def _key(name: str, value: Any) -> Any:
    """A key as it may be shown: an export can have anything for an id."""
    is_ours = isinstance(value, int) or not name.endswith("_id")
    return value if is_ours or re.match(IS_A_KEY, str(value)) else "(no id to show)"


def _observed(result: dict[str, Any]) -> str:
    """How many rows are not as expected, with figures where the values are figures."""
    raised = result["exception_info"]
    raised = raised if "raised_exception" in raised else next(iter(raised.values()), {})
    counted = result["result"]
    if counted.get("element_count") is None:
        # Postgres quotes values in its messages: the kind of error is all that is kept.
        kind = re.search(r"psycopg\.(?:errors\.)?\w+", str(raised.get("exception_message")))
        return f"it could not be evaluated ({kind[0] if kind else 'see the log'})"
    text = f"{counted.get('unexpected_count') or 0:,} of {counted['element_count']:,} rows"
    figures = [
        f"{value:g}"
        for value in counted.get("partial_unexpected_list") or []
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return f"{text} ({', '.join(figures[:5])})" if figures else text


def _keep(connection: Connection, found: list[Checked], day: Day, flow_run_id: str) -> None:
    from psycopg.types.json import Jsonb

    # A phase that is tried again says its last word only.
    connection.execute(
        "delete from metrics.check_results where flow_run_id = %s and day = %s",
        [flow_run_id, day.date],
    )
    connection.cursor().executemany(
        """
        insert into metrics.check_results (
            flow_run_id, day, suite, check_name, table_name, description, severity, success,
            observed, unexpected_count, sample_keys
        )
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            (
                *(flow_run_id, day.date, each.suite, each.check, each.table, each.description),
                *(each.severity, each.success, each.observed, each.unexpected_count),
                Jsonb(each.sample_keys),
            )
            for each in found
        ],
    )
