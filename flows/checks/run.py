"""Run the checks of a day with Great Expectations, record their results, name what failed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.checks.docs import known, write_docs
from flows.checks.judge import Question, Suite, Verdict, judge, key_of
from flows.checks.quarantine import IS_A_KEY, SAMPLE, sample_keys
from loaders import ledger, warehouse
from loaders.days import Day
from loaders.errors import DaybookError
from loaders.lock import Lock, transaction
from loaders.workers import Worker

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

SUITES = Path(__file__).parent  # a file each, as Great Expectations keeps them
SEVERITIES = {"critical": "error", "warning": "warn"}  # Great Expectations' words and ours


class CheckError(DaybookError):
    """Checks of severity `error` failed."""

    def __init__(self, failed: list[Checked], of: int) -> None:
        self.public = f"checks failed: {', '.join(check.name for check in failed)}"
        observed = "; ".join(f"{check.name}: {check.observed}" for check in failed)
        super().__init__(
            f"{len(failed)} of {of} checks failed; what was built stays as it is:\n"
            f"  {observed}\n"
            "  look: select * from metrics.check_results where not success"
        )


@dataclass(frozen=True)
class Checked:
    """The result of one check: a row of metrics.check_results. `sample_keys`: the keys of up to 20
    failing rows."""

    suite: str
    check_name: str
    table_name: str
    description: str
    severity: str
    success: bool
    observed: str
    unexpected_count: int | None
    sample_keys: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.suite}.{self.check_name}"


def shown(key: dict[str, Any]) -> str:
    """A row's key as text; with several ids, each column's name stands before its value."""
    several = sum(name.endswith("_id") for name in key) > 1
    return " ".join(f"{name} {value}" if several else str(value) for name, value in key.items())


def declared_suites() -> list[Suite]:
    """Every suite, in the order of names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SUITES.glob("*.json"))]


def suites_of(day: Day) -> list[Suite]:
    """The suites for a day's calendar: a numbered day, for instance, has no age to check."""
    calendars = (None, day.calendar)
    return [suite for suite in declared_suites() if suite["meta"].get("calendar") in calendars]


def check_day(
    day: Day, flow_run_id: str, *, lock: Lock | None = None, docs: Path | None = None
) -> list[Checked]:
    """Run the suites on what a day built, and write metrics.check_results.

    `docs`: the folder for Great Expectations' own pages. Raises WarehouseError, or LockedError when
    `lock` was lost. Failing checks are in the result, not raised: see `raise_failed`.
    """
    of_run = {"flow_run_id": flow_run_id, "day": day.date}
    with ledger.connect(day, flow_run_id, "daybook", warehouse.TRANSFORMER) as connection:
        questions = [_ask(connection, suite) for suite in suites_of(day)]
        key, pages = key_of(day, questions), None
        verdicts = known(key, docs) if docs else None
        if verdicts is None:
            # Great Expectations takes as much memory as the rest of a run: a process of its own
            # imports it, and ends with the verdicts.
            with Worker("run the day again.") as worker:
                verdicts, pages = worker.ask((judge, questions, f"{day} of run {flow_run_id}"))
        results = [
            _checked(connection, each, verdict, day)
            for each, of_suite in zip(questions, verdicts, strict=True)
            for verdict in of_suite
        ]
        with transaction(connection, lock):
            # A retried phase keeps its last results only.
            connection.execute(
                "delete from metrics.check_results"
                " where flow_run_id = %(flow_run_id)s and day = %(day)s",
                of_run,
            )
            ledger.note(connection, "check_results", *(of_run | vars(each) for each in results))
    if docs and pages is not None:
        write_docs(pages, key, verdicts, docs)
    return results


def raise_failed(results: list[Checked]) -> None:
    """Raise CheckError when a check of severity `error` failed."""
    failed = [check for check in results if not check.success and check.severity == "error"]
    if failed:
        raise CheckError(failed, len(results))


def _ask(connection: Connection, suite: Suite) -> Question:
    """The rows that the suite is held against, or their shares; the kind of error when they can't
    be read: Postgres quotes values in its messages."""
    import psycopg

    try:
        cursor = connection.execute(_query(suite))
    except psycopg.Error as error:
        if connection.broken:
            raise
        return Question(suite, error=type(error).__name__)
    return Question(suite, [column.name for column in cursor.description or ()], cursor.fetchall())


def _query(suite: Suite, *, of_rows: bool = False) -> Composed:
    """Of the suite's rows; where it asks for shares, of the number of rows and, by column, the
    share of those in which it is true."""
    from psycopg import sql

    rows = sql.Composed([sql.SQL("\n".join(suite["meta"]["query"]))])
    if of_rows or not suite["meta"].get("shares"):
        return rows
    columns = dict.fromkeys(each["kwargs"]["column"] for each in suite["expectations"])
    share = sql.SQL("count(*) filter (where {0})::float8 / nullif(count(*), 0) as {0}")
    shares = sql.SQL(", ").join(share.format(sql.Identifier(name)) for name in columns)
    return sql.SQL("select count(*) as rows, {} from ({}) as looked_at").format(shares, rows)


def _failing_keys(connection: Connection, suite: Suite, column: str) -> list[dict[str, Any]]:
    """The keys of up to 20 rows in which the column is true."""
    from psycopg import sql
    from psycopg.rows import dict_row

    keys = sql.SQL(", ").join(map(sql.Identifier, suite["meta"]["keys"]))
    select = sql.SQL("select {0} from ({1}) as looked_at where {2} order by {0} limit {3}")
    rows = _query(suite, of_rows=True)
    statement = select.format(keys, rows, sql.Identifier(column), SAMPLE)
    return connection.cursor(row_factory=dict_row).execute(statement).fetchall()


def _checked(connection: Connection, question: Question, verdict: Verdict, day: Day) -> Checked:
    suite, meta = question.suite, question.suite["meta"]
    success, config = verdict["success"], verdict["expectation_config"]
    counted = verdict["result"]
    index = counted.get("partial_unexpected_index_list") or []
    if meta.get("shares") and not question.error:
        row = dict(zip(question.columns, *question.rows, strict=True))
        column = config["kwargs"]["column"]
        failing = round((row[column] or 0) * row["rows"])
        counted = {"element_count": row["rows"], "unexpected_count": failing}
        index = [] if success else _failing_keys(connection, suite, column)
    keys = [{name: _key(name, row[name]) for name in meta["keys"]} for row in index]
    if index and config["meta"].get("sample") == "quarantine":
        keys = sample_keys(connection, day, [row["table_name"] for row in index]) or keys
    return Checked(
        suite=suite["name"],
        check_name=config["meta"]["check"],
        table_name=meta["table"],
        description=config["description"],
        severity=SEVERITIES[config["severity"]],
        success=success,
        observed=_observed(counted, meta.get("rows", "rows"), config["meta"].get("unit")),
        unexpected_count=counted.get("unexpected_count"),
        sample_keys=[] if success else keys[:SAMPLE],
    )


def _key(name: str, value: Any) -> Any:
    """A key that may be shown: an export can have anything in an id column."""
    is_ours = isinstance(value, int) or not name.endswith("_id")
    return value if is_ours or re.match(IS_A_KEY, str(value)) else "(no id to show)"


def _observed(counted: dict[str, Any], rows: str, unit: str | None) -> str:
    """How many rows are not as expected, and some of their values when these have a unit."""
    if counted.get("element_count") is None:
        return f"it could not be evaluated ({counted.get('kind', 'see the log')})"
    text = f"{counted.get('unexpected_count') or 0:,} of {counted['element_count']:,} {rows}"
    values = sorted(counted.get("partial_unexpected_list") or [], reverse=True) if unit else []
    figures = [f"{value * 100 if unit == '%' else value:,.4g} {unit}" for value in values[:5]]
    return f"{text} ({', '.join(figures)})" if figures else text
