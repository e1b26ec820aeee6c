"""The first thing that is said of a run, on pages, terminals and to the webhook: how it went, what
failed, what to do about it, what to look at, and what of it is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
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
    "node": "dbt nodes that fail: {}",
    "error": "checks that fail: {}",
    "unused": "files that no table uses: {}",
    "repaired": "tables with repaired rows: {}",
    "drift": "tables whose fields changed: {}",
    "dbt": "dbt tests that warn: {}",
    "unaccepted": "entries of accepted.yml that accept nothing: {}",
    "warn": "checks that warn: {}",
}
# Those that fail a run, and what to do; the suites of the checks are put in.
FAILING = {
    "failed": "Nothing of a table that failed was replaced: mend or fetch its files.",
    "node": "`dbt build --select` with that name says the whole reason. What was built stays as it "
    "is.",
    "error": "Look the rows up by the keys on the run page. If the files are at fault have them "
    "mended and land the day again; if the limit is, it stands in flows/checks/{}.",
}


class Note(NamedTuple):
    """What a person should look at of one table, file, dbt node or check: `kind` is a key of KINDS.
    No value of data."""

    kind: str
    name: str
    said: str

    def __str__(self) -> str:
        return f"{self.name}: {self.said}"

    @property
    def as_failure(self) -> str:
        """As one of the things that failed a run."""
        return f"{self.name} {self.said}" if self.kind == "failed" else str(self)


@dataclass(frozen=True)
class Story:
    """What is known of a run, or (`run` is None) of a warehouse in which no flow has run.

    `notes`: what there is to look at, the worst first; `accepted`: warnings that are known, in
    words.
    """

    run: Row | None
    landings: list[Row]
    checks: list[Row]
    notes: list[Note]
    accepted: list[str]

    @property
    def has_failed(self) -> bool:
        return self.run is not None and self.run["status"] == "failure"

    def failures(self, beside: str | None = "") -> list[Note]:
        """Notes of what failed, but for those whose reason stands in the text `beside` them."""
        return [
            note
            for note in self.notes
            if note.kind in FAILING
            and note.said.removeprefix("did not land: ") not in (beside or "")
        ]

    @property
    def advice(self) -> list[str]:
        """What to do about what failed."""
        errors = [note.name.partition(".")[0] for note in self.notes if note.kind == "error"]
        suites = ", ".join(f"{suite}.json" for suite in sorted({*errors}))
        kinds = dict.fromkeys(note.kind for note in self.failures())
        if self.run and (self.run["error_message"] or "").startswith("stg_"):  # no file was read
            kinds["failed"] = None
        advice = [FAILING[kind].format(suites) for kind in kinds]
        page = self.run and self.run["prefect"]  # a run of a worker's has no terminal
        more = f"Its log says more: {page}" if page else "With --verbose a run says more."
        return [*(advice or [more]), AGAIN]

    @property
    def by_severity(self) -> dict[str, list[str]]:
        """Heading → what there is to look at under it, in words, without what the run's own reason
        says already."""
        why = self.run["error_message"] if self.run else None
        return {
            "failed": [str(note) for note in self.failures(beside=why)],
            "warnings": [str(note) for note in self.notes if note.kind not in FAILING],
            "known": self.accepted,
        }


def read_story(connection: Connection, flow_run_id: str, day: date) -> Story:
    """A run's story, by its id."""
    run = next(iter(read.runs(connection, 1, run=flow_run_id)), None)
    landings = ask(connection, "landings", run=flow_run_id, day=day)
    nodes, checks = ask(connection, "nodes", run=flow_run_id), read.checks(connection, flow_run_id)
    failures = ask(connection, "failures", run=flow_run_id)
    why = {row["name"]: row["error_message"] for row in failures}
    status = {row["table_name"]: row["status"] for row in landings}  # of the last attempt
    tables = [row["name"] for row in failures if row["pipeline_name"] == "landing"]
    tables = [name for name in [*tables, *status] if status.get(name, "failed") == "failed"]
    notes = [*_of_landings(landings)]
    for table in dict.fromkeys(tables):
        said = (why.get(table) or "it is there").removeprefix(f"{table}: ")
        notes.append(Note("failed", table, f"did not land: {said}"))
    for row in nodes:
        said = why.get(row["node"]) or row["status"]
        notes.append(
            Note("dbt", row["node"], "dbt warns")
            if row["status"] == "warn"
            else Note("node", f"dbt's {row['resource_type']} {row['node']}", said)
        )
    notes += [Note("unaccepted", *entry) for entry in read_accepted()[1].items()]
    of_checks = [(_of_check(row), row["accepted"]) for row in checks if not row["success"]]
    notes += [note for note, known in of_checks if not known]
    notes.sort(key=lambda note: [*KINDS].index(note.kind))
    accepted = [
        f"accepted until {known['until']}: {note} ({known['reason']})"
        for note, known in of_checks
        if known
    ]
    return Story(run, landings, checks, notes, accepted)


def _of_check(row: Row) -> Note:
    """What a failed check expects, and how many are against it."""
    against = "" if row["unexpected_count"] is None else "against it: "
    said = f"{row['description']}; {against}{row['observed'] or 'it failed'}"
    return Note(row["severity"], row["name"], said)


def _of_landings(landings: list[Row]) -> Iterator[Note]:
    for row in landings:
        name, drift = row["table_name"], row["drift"] or {}
        if row["status"] == "unused":
            yield Note("unused", name, row["error"].removeprefix(f"{name}: "))
        elif repaired := row["rows_repaired"]:
            said = f"{repaired:,} rows landed repaired; bronze.load_rejects has their text"
            yield Note("repaired", name, said)
        # what differs from the day before; what is always missing or unknown is no news
        news = [f"{kind}: {_few(drift[kind])}" for kind in ("added", "gone") if kind in drift]
        if news and row["status"] == "succeeded":
            yield Note("drift", name, f"fields {'; '.join(news)}")


def _few(names: list[str]) -> str:
    """The first names: JSON that has ids for field names brings thousands."""
    more = f" and {len(names) - FIELDS:,} more" if len(names) > FIELDS else ""
    return ", ".join(name[:60] for name in names[:FIELDS]) + more


class Verdict(NamedTuple):
    """A kind for the page's colour, a word for its title, a sentence."""

    kind: str
    word: str
    said: str


def verdict(story: Story, ledger: list[Row]) -> Verdict:
    """How a run went, by its notes and the day's ledger."""
    if story.run and story.has_failed:
        said = story.run["error_message"] or "The run ended early."
        named = said.startswith("stg_")
        return Verdict("failure", "failed", said if named else said[:1].upper() + said[1:])
    if story.run and story.run["status"] == "running":
        return Verdict("running", "is running", "Figures are those of a moment.")
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
    now, then, since = _by_finding(story.notes, reasons(day)), {}, None
    for before in ask(connection, "checked", day=day.date):
        since = Day(before["day"], day.calendar)
        earlier = read_story(connection, before["flow_run_id"], since.date)
        then = _by_finding(earlier.notes, reasons(since))
    above = FAILING if story.has_failed else {}  # said as what failed
    return News(
        since,
        [line for one, line in now.items() if one not in then and one[0] not in above],
        [line for one, line in now.items() if one in then and one[0] not in above],
        [line for one, line in then.items() if one not in now and one[0] != "drift"],
    )


def _by_finding(notes: list[Note], reasons: list[Reason]) -> dict[tuple[str, str, str], str]:
    """What tells one finding from another → its line. A change of fields is news each time; all
    else is the same thing in other numbers."""
    lines = {
        (note.kind, note.name, note.said if note.kind == "drift" else ""): str(note)
        for note in notes
    }
    for one in reasons:
        line = f"{one.table}: {one.rows:,} in quarantine as {one.reason}"
        lines["reason", one.table, one.reason] = line
    return lines
