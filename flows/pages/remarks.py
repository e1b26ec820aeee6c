"""What a run left out or mended of what was delivered, how fields changed, what dbt warned of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from flows.checks.accepted import read_accepted
from flows.pages.read import ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

FIELDS = 12  # named of those that were added, or are gone
# kind → what a verdict says of so many
KINDS = {
    "failed": "tables that are there and did not land: {}",
    "unused": "files that no table uses: {}",
    "repaired": "tables with repaired rows: {}",
    "drift": "tables whose fields changed: {}",
    "warned": "dbt tests that warn: {}",
    "unaccepted": "entries of accepted.yml that accept nothing: {}",
}


class Remark(NamedTuple):
    """One table, file or node: `kind` is a key of KINDS, `said` holds no value of data."""

    kind: str
    name: str
    said: str


def read_remarks(connection: Connection, flow_run_id: str) -> list[Remark]:
    """The remarks on a run; tables that failed first."""
    rows = ask(
        connection,
        "bronze.load_batches bronze.load_rejects metrics.pipeline_metrics",
        """
        select
            newest.*,
            (
                select metrics.error_message from metrics.pipeline_metrics as metrics
                where metrics.flow_run_id = newest.flow_run_id
                    and metrics.table_name = newest.table_name
                    and metrics.status = 'failure' and metrics.pipeline_name = 'landing'
                order by metrics.id desc
                limit 1
            ) as why,
            (
                select count(*) from bronze.load_rejects as rejects
                where rejects.batch_id = newest.batch_id and rejects.landed
            ) as repaired
        from (
            select distinct on (table_name)
                flow_run_id, table_name, batch_id, status, error, drift
            from bronze.load_batches
            where flow_run_id = %s
            order by table_name, batch_id desc
        ) as newest
        order by newest.status <> 'failed', newest.batch_id
        """,
        flow_run_id,
    )
    found = []
    for row in rows:
        name, status, drift = row["table_name"], row["status"], row["drift"] or {}
        if status == "failed":
            said = row["why"] or "it is there and did not land"
            found.append(Remark("failed", name, f"did not land: {said.removeprefix(f'{name}: ')}"))
        elif status == "unused":
            found.append(Remark("unused", name, row["error"].removeprefix(f"{name}: ")))
        elif row["repaired"]:
            said = f"{row['repaired']:,} rows landed repaired; bronze.load_rejects has their text"
            found.append(Remark("repaired", name, said))
        # what differs from the day before; what is always missing or unknown is no news
        news = [f"{kind}: {_few(drift[kind])}" for kind in ("added", "gone") if kind in drift]
        if news and status == "succeeded":
            found.append(Remark("drift", name, f"fields {'; '.join(news)}"))
    nodes = "select node from metrics.node_runs where flow_run_id = %s and status = 'warn'"
    warned = ask(connection, "metrics.node_runs", nodes, flow_run_id)
    found += [Remark("warned", row["node"], "dbt warns") for row in warned]
    return found + [Remark("unaccepted", *entry) for entry in read_accepted()[1].items()]


def _few(names: list[str]) -> str:
    """The first names: JSON that has ids for field names brings thousands."""
    more = f" and {len(names) - FIELDS:,} more" if len(names) > FIELDS else ""
    return ", ".join(name[:60] for name in names[:FIELDS]) + more


def counted(remarks: Iterable[Remark]) -> list[str]:
    """What a verdict says of them: `tables whose fields changed: 2`."""
    kinds = Counter(remark.kind for remark in remarks)
    return [said.format(kinds[kind]) for kind, said in KINDS.items() if kinds[kind]]
