"""The first thing a page says: how the day went, what failed, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.pages import read, runs
from flows.pages.read import Row
from flows.pages.remarks import Remark, counted, read_remarks

if TYPE_CHECKING:
    from psycopg import Connection

AGAIN = (
    "When its cause is mended run the same command again: what has landed is not landed again, "
    "and what was applied is not applied again."
)


@dataclass(frozen=True)
class Story:
    """What a run came to. `failing`: checks that failed and are not accepted; `failed` and
    `advice`: what failed, by name, and what to do, both empty when the run did not fail."""

    checks: list[Row]
    failing: list[Row]
    remarks: list[Remark]
    verdict: dict[str, str]
    failed: list[str]
    advice: list[str]


def read_story(connection: Connection, run: Row | None, ledger: list[Row]) -> Story:
    """The story of a run, or (None) of a warehouse in which no flow has run."""
    run_id = run["flow_run_id"] if run else ""
    checks, remarks = read.checks(connection, run_id), read_remarks(connection, run_id)
    failing = read.failing(checks)
    failures, nodes = runs.failures(connection, run_id), runs.failed_nodes(connection, run_id)
    return Story(
        *(checks, failing, remarks, verdict(run, failing, ledger, remarks)),
        *troubles(run, failures, nodes, failing),
    )


def verdict(
    run: Row | None, failing: list[Row], ledger: list[Row], remarks: list[Remark]
) -> dict[str, str]:
    """A kind for the page's colour, a word for its title, a sentence."""
    status = run["status"] if run else "success"
    if status == "failure":
        said = (run or {}).get("error_message") or "The run ended early."
        begins = said[:1] if said.startswith("stg_") else said[:1].upper()
        return {"kind": "failure", "word": "failed", "said": f"{begins}{said[1:]}"}
    if status == "running":
        return {"kind": "running", "word": "is running", "said": "Figures are those of a moment."}
    landed = landed_once(ledger, "rows_landed")
    quarantined = sum(row["rows_quarantined"] for row in ledger)
    said = f"{landed:,} rows landed" + (f", {quarantined:,} quarantined" if quarantined else "")
    unbalanced = [row["target"] for row in ledger if not row["balanced"]]
    said += (
        f"; the ledger does NOT balance for {', '.join(unbalanced)}"
        if unbalanced
        else "; each row has exactly one end"
    )
    warned = sum(not row["success"] for row in failing)
    if warned:
        said += f"; {warned} check{'s' if warned != 1 else ''} warn{'s' if warned == 1 else ''}"
    said = "; ".join([said, *counted(remarks)])
    kind = "warned" if warned or unbalanced or remarks else "success"
    return {"kind": kind, "word": "is done", "said": f"{said}."}


def landed_once(ledger: list[Row], column: str) -> int:
    """The sum of a column of figures that belong to the landed table, not to its targets."""
    own = [row for row in ledger if row.get("target") != "group_memberships"] or ledger
    return sum(row[column] or 0 for row in {row["table_name"]: row for row in own}.values())


def troubles(
    run: Row | None,
    failures: list[Row],
    nodes: list[Row],
    failing: list[Row],
) -> tuple[list[str], list[str]]:
    """What failed, by name, and what to do. Both empty when the run did not fail."""
    if not run or run["status"] != "failure":
        return [], []
    what: list[str] = []
    do: list[str] = []
    landings = [row for row in failures if row["pipeline_name"] == "landing"]
    if landings:
        what += [f"{row['name']} did not land: {row['error_message']}" for row in landings]
        do.append("Nothing of a table that failed was replaced: mend or fetch its files.")
    if nodes:
        why = {row["task_name"]: row["error_message"] for row in failures}
        what += [
            f"dbt's {row['resource_type']} {row['node']}: {why.get(row['node']) or row['status']}"
            for row in nodes
        ]
        do.append(
            "`dbt build --select` with that name says the whole reason. What was built stays as it "
            "is."
        )
    errors = [row for row in failing if row["severity"] == "error"]
    if errors:
        what += [f"{row['name']}: {row['description']}; found {row['observed']}" for row in errors]
        do.append(
            "Look the rows up by the keys below. If the files are at fault have them mended and "
            "land the day again; if the limit is, it stands in flows/checks/"
            + ", ".join(sorted({f"{row['suite']}.json" for row in errors}))
            + "."
        )
    if not what:
        what.append(run["error_message"] or "The run ended without saying why.")
        do.append("With --verbose a run says more.")
    return what, [*do, AGAIN]


def slow_nodes(nodes: list[Row], most: int = 10) -> list[Row]:
    """The slowest nodes of a run that have a median, by how far they are above it; on a first
    day, when there is none, the slowest."""
    known = [row for row in nodes if row["median"]]
    if not known:
        return sorted(nodes, key=lambda row: -row["seconds"])[:most]
    long_enough = [row for row in known if row["seconds"] >= 0.02] or known
    return sorted(long_enough, key=lambda row: -row["seconds"] / row["median"])[:most]
