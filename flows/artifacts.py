"""What a run leaves in Prefect: the ledger as a table, and a summary with the pages' place."""

from __future__ import annotations

import contextlib

from flows.run import Run
from loaders import warehouse

LEDGER, SUMMARY = "daybook-ledger", "daybook-summary"


def leave(run: Run) -> None:
    """Both artifacts, of the flow run at work; a Prefect that is away must not fail the day."""
    with contextlib.suppress(Exception):
        _leave(run)


def _leave(run: Run) -> None:
    from prefect.artifacts import create_markdown_artifact, create_table_artifact
    from psycopg.rows import dict_row

    with warehouse.connect(
        application_name=f"daybook {run.flow_run_id}", role=warehouse.TRANSFORMER
    ) as connection:
        rows = (
            connection.cursor(row_factory=dict_row)
            .execute(
                "select * from metrics.row_ledger where day = %s order by table_name, target",
                [run.day.date],
            )
            .fetchall()
        )
    table = [{**row, "day": str(row["day"])} for row in rows]
    of_run = f"{run.day}, run {run.flow_run_id}"
    # `_sync` is what Prefect's decorator takes, and its types don't say so.
    create_table_artifact(table=table, key=LEDGER, description=of_run, _sync=True)  # type: ignore[call-arg]
    balanced = sum(row["balanced"] for row in rows)
    lines = [
        f"## Daybook {run.day}",
        f"- run `{run.flow_run_id}`",
        f"- {balanced} of {len(rows)} ledger rows balance",
        f"- {sum(row['rows_landed'] for row in rows)} rows landed, "
        f"{sum(row['rows_quarantined'] for row in rows)} quarantined",
        f"- pages: `{warehouse.home() / 'site' / 'index.html'}`",
    ]
    create_markdown_artifact(markdown="\n".join(lines), key=SUMMARY, _sync=True)  # type: ignore[call-arg]
