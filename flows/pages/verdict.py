"""The first thing that is said of a run, on pages, terminals and to the webhook: how it went, what
failed, what to do about it, what to look at, and what of it is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from flows.checks.accepted import read_accepted
from flows.checks.quarantine import Reason
from flows.pages import read
from flows.pages.read import Row, ask
from loaders.days import Day

if TYPE_CHECKING:
    from psycopg import Connection

AGAIN = (
    "When its cause is mended run the same command again: what has landed is not landed again, "
    "and what was applied is not applied again."
)
FIELDS = 12  # named of those that were added, or are gone
# What there is to look at, the worst first, and what a verdict says of so many.
KINDS = {
    "failed": "tables that are there and did not land: {}",
    "error": "checks that fail: {}",
    "unused": "files that no table uses: {}",
    "repaired": "tables with repaired rows: {}",
    "drift": "tables whose fields changed: {}",
    "dbt": "dbt tests that warn: {}",
    "unaccepted": "entries of accepted.yml that accept nothing: {}",
    "warn": "checks that warn: {}",
}


class Note(NamedTuple):
    """What a person should look at of one table, file, dbt node or check: `kind` is a key of KINDS;
    `expected` is what a check is about. No value of data."""

    kind: str
    name: str
    said: str
    expected: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.said}"

    @property
    def sentence(self) -> str:
        """With what a check is about."""
        return f"{self.name}: {self.expected}; found {self.said}" if self.expected else str(self)


@dataclass(frozen=True)
class Story:
    """What is known of a run, or (`run` is None) of a warehouse in which no flow has run.

    `notes`: what there is to look at; `accepted`: warnings that are known, in words; `failed` and
    `advice`: what failed, by name, and what to do, both empty when the run did not fail.
    """

    run: Row | None
    landings: list[Row]
    checks: list[Row]
    notes: list[Note]
    accepted: list[str]
    failed: list[str]
    advice: list[str]


def read_story(connection: Connection, flow_run_id: str, day: date) -> Story:
    """A run's story, by its id."""
    run = next(iter(read.runs(connection, 1, run=flow_run_id)), None)
    landings = ask(connection, "landings", run=flow_run_id, day=day)
    nodes, checks = ask(connection, "nodes", run=flow_run_id), read.checks(connection, flow_run_id)
    failures = ask(connection, "failures", run=flow_run_id)
    notes = [
        *_of_landings(landings, {row["name"]: row["error_message"] for row in failures}),
        *(Note("dbt", row["node"], "dbt warns") for row in nodes if row["status"] == "warn"),
        *(Note("unaccepted", *entry) for entry in read_accepted()[1].items()),
        *(
            Note(row["severity"], row["name"], row["observed"] or "failed", row["description"])
            for row in checks
            if not row["success"] and not row["accepted"]
        ),
    ]
    notes.sort(key=lambda note: [*KINDS].index(note.kind))
    accepted = [
        f"accepted until {known['until']}: {row['name']}: {row['observed']} ({known['reason']})"
        for row in checks
        if (known := row["accepted"])
    ]
    failed: list[str] = []
    advice: list[str] = []
    if run and run["status"] == "failure":
        failed, advice = _troubles(run, failures, nodes, notes)
    return Story(run, landings, checks, notes, accepted, failed, advice)


def by_severity(story: Story) -> dict[str, list[str]]:
    """Heading → what there is to look at under it, in words, without what the run's own reason says
    already."""
    why = story.run["error_message"] if story.run else None
    failed = [str(note) for note in story.notes if note.kind in ("failed", "error")]
    return {
        "failed": unsaid(failed, why or ""),
        "warnings": [str(note) for note in story.notes if note.kind not in ("failed", "error")],
        "known": story.accepted,
    }


def unsaid(lines: list[str], said: str) -> list[str]:
    """Lines but for those whose reason is said."""
    return [line for line in lines if line.rpartition("did not land: ")[2] not in said]


def _of_landings(landings: list[Row], why: dict[str, str]) -> list[Note]:
    notes = []
    for row in landings:
        name, drift = row["table_name"], row["drift"] or {}
        if row["status"] == "failed":
            said = why.get(name) or "it is there and did not land"
            notes.append(Note("failed", name, f"did not land: {said.removeprefix(f'{name}: ')}"))
        elif row["status"] == "unused":
            notes.append(Note("unused", name, row["error"].removeprefix(f"{name}: ")))
        elif repaired := row["rows_repaired"]:
            said = f"{repaired:,} rows landed repaired; bronze.load_rejects has their text"
            notes.append(Note("repaired", name, said))
        # what differs from the day before; what is always missing or unknown is no news
        news = [f"{kind}: {_few(drift[kind])}" for kind in ("added", "gone") if kind in drift]
        if news and row["status"] == "succeeded":
            notes.append(Note("drift", name, f"fields {'; '.join(news)}"))
    return notes


def _few(names: list[str]) -> str:
    """The first names: JSON that has ids for field names brings thousands."""
    more = f" and {len(names) - FIELDS:,} more" if len(names) > FIELDS else ""
    return ", ".join(name[:60] for name in names[:FIELDS]) + more


def _troubles(
    run: Row, failures: list[Row], nodes: list[Row], notes: list[Note]
) -> tuple[list[str], list[str]]:
    """What failed, by name, and what to do."""
    why = {row["name"]: row["error_message"] for row in failures}
    errors = [note for note in notes if note.kind == "error"]
    suites = ", ".join(sorted({f"{note.name.partition('.')[0]}.json" for note in errors}))
    troubles = {
        "Nothing of a table that failed was replaced: mend or fetch its files.": [
            f"{row['name']} did not land: {row['error_message']}"
            for row in failures
            if row["pipeline_name"] == "landing"
        ],
        "`dbt build --select` with that name says the whole reason. What was built stays as it "
        "is.": [
            f"dbt's {row['resource_type']} {row['node']}: {why.get(row['node']) or row['status']}"
            for row in nodes
            if row["status"] != "warn"
        ],
        "Look the rows up by the keys on the run page. If the files are at fault have them mended "
        f"and land the day again; if the limit is, it stands in flows/checks/{suites}.": [
            note.sentence for note in errors
        ],
    }
    failed = [line for lines in troubles.values() for line in lines]
    if not failed:
        failed = [run["error_message"] or "The run ended without saying why."]
        return failed, ["With --verbose a run says more.", AGAIN]
    return failed, [*(advice for advice, lines in troubles.items() if lines), AGAIN]


class Verdict(NamedTuple):
    """A kind for the page's colour, a word for its title, a sentence."""

    kind: str
    word: str
    said: str


def verdict(story: Story, ledger: list[Row]) -> Verdict:
    """How a run went, by its notes and the day's ledger."""
    status = story.run["status"] if story.run else "success"
    if story.run and status == "failure":
        said = story.run["error_message"] or "The run ended early."
        named = said.startswith("stg_")
        return Verdict(status, "failed", said if named else said[:1].upper() + said[1:])
    if status == "running":
        return Verdict(status, "is running", "Figures are those of a moment.")
    quarantined = sum(row["rows_quarantined"] for row in ledger)
    unbalanced = ", ".join(row["target"] for row in ledger if not row["balanced"])
    count = Counter(note.kind for note in story.notes)
    said = "; ".join(
        [
            f"{landed_once(ledger, 'rows_landed'):,} rows landed"
            + (f", {quarantined:,} quarantined" if quarantined else ""),
            f"the ledger does NOT balance for {unbalanced}"
            if unbalanced
            else "each row has exactly one end",
            *(words.format(count[kind]) for kind, words in KINDS.items() if count[kind]),
        ]
    )
    return Verdict("warned" if unbalanced or story.notes else "success", "is done", f"{said}.")


def landed_once(ledger: list[Row], column: str) -> int:
    """The sum of a column of figures that belong to the landed table, not to its targets."""
    own = [row for row in ledger if row.get("target") != "group_memberships"] or ledger
    return sum(row[column] or 0 for row in {row["table_name"]: row for row in own}.values())


class News(NamedTuple):
    """`since`: the day that was checked before, None where there is none; `gone`: what was said of
    it and is not of this one."""

    since: Day | None
    new: list[str]
    known: list[str]
    gone: list[str]


def read_news(
    connection: Connection, day: Day, story: Story, reasons: Callable[[Day], list[Reason]]
) -> News:
    """Hold a run of `day` to the last run of the day before that was checked, and their reasons
    for quarantine."""
    notes = [note for note in story.notes if not story.failed or note.kind != "failed"]
    now, then, since = _by_finding(notes, reasons(day)), {}, None
    for before in ask(connection, "checked", day=day.date):
        since = Day(before["day"], day.calendar)
        earlier = read_story(connection, before["flow_run_id"], since.date)
        then = _by_finding(earlier.notes, reasons(since))
    return News(
        since,
        [line for finding, line in now.items() if finding not in then and line not in story.failed],
        [line for finding, line in now.items() if finding in then],
        [line for finding, line in then.items() if finding not in now and finding[0] != "drift"],
    )


def _by_finding(notes: list[Note], reasons: list[Reason]) -> dict[tuple[str, str, str], str]:
    """What tells one finding from another → its line. A change of fields is news each time; all
    else is the same thing in other numbers."""
    told = {
        (note.kind, note.name, note.said if note.kind == "drift" else ""): note.sentence
        for note in notes
    }
    for one in reasons:
        line = f"{one.table}: {one.rows:,} in quarantine as {one.reason}"
        told["reason", one.table, one.reason] = line
    return told
