"""What Great Expectations says of the rows that suites ask for, and what that follows from."""

from __future__ import annotations

import hashlib
import logging
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from flows.checks.docs import Page, renderer
from flows.checks.quarantine import SAMPLE
from loaders.days import Day

# {"name", "expectations", "meta"}. In the suite's meta: `query` selects the rows of the day in
# app.day; `table`: where they are from; `keys`: the columns of a failing row that may be shown;
# `rows`: what readers call a row; `calendar`: dated or numbered, when the suite is only for such
# days; `shares`: expectations are held against one row, the share of rows in which each column of
# the query is true, so that a million rows are read once and none leaves the server. In an
# expectation's meta: `unit` of its values, of which a few are then shown; a share's is %.
Suite = dict[str, Any]
Verdict = dict[str, Any]  # of an expectation, as Great Expectations writes it in JSON


@dataclass(frozen=True)
class Question:
    """A suite and the rows that it is held against, or the kind of error that their query had."""

    suite: Suite
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    error: str | None = None


def judge(
    _parent: Any, questions: list[Question], run_name: str
) -> tuple[list[list[Verdict]], list[Page]]:
    """The verdicts on each question, and Great Expectations' own page of each that has rows."""
    import pandas

    gx = great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("warehouse")
    rendered = renderer()
    verdicts: list[list[Verdict]] = []
    pages: list[Page] = []
    for each in questions:
        name, meta = each.suite["name"], each.suite["meta"]
        if each.error:
            no: Verdict = {"success": False, "result": {"kind": each.error}}
            verdicts.append(
                [no | {"expectation_config": one} for one in each.suite["expectations"]]
            )
            continue
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("day")
        frame = pandas.DataFrame(each.rows, columns=each.columns)
        validation = batch.get_batch({"dataframe": frame}).validate(
            gx.ExpectationSuite(**each.suite),
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": ["rows"] if meta.get("shares") else meta["keys"],
                "partial_unexpected_count": SAMPLE,
            },
        )
        validation.meta |= {
            "description": meta["description"],
            "run_id": {"run_name": run_name, "run_time": datetime.now(UTC).isoformat()},
            "batch_kwargs": {"data_asset_name": meta["table"]},
        }
        verdicts.append([result.to_json_dict() for result in validation.results])
        pages.append(Page(name, meta["description"], rendered(validation)))
    return verdicts, pages


def great_expectations() -> Any:
    """The library, set to log only errors."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
    import great_expectations

    return great_expectations


def key_of(day: Day, questions: list[Question]) -> str:
    """What the verdicts follow from, as a hash; the day stands in the pages."""
    judged = repr((day, questions, version("great-expectations")))
    return hashlib.sha256(judged.encode()).hexdigest()
