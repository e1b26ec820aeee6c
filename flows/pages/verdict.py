"""The verdict on a run, for pages, terminals and the webhook: how it went, what failed, what to do
about it, what to look at, and what of that is new."""

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
from loaders.errors import many
from loaders.files import NAMED

if TYPE_CHECKING:
    from psycopg import Connection

AGAIN = (
    "When its cause is mended, run the same command again: what has landed or was applied is not"
    " done twice."
)
FIELDS = 12  # so many that were added, or are gone, are named
# The kinds of notes, the worst first, and how a verdict counts them.
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
# The kinds that fail a run, and what to do; {} is the suites of the failed checks.
FAILING = {
    "failed": "Nothing of a table that failed was replaced: mend or fetch its files.",
    "node": "`dbt build --select` with that name says the whole reason. What was built stays as it "
    "is.",
    "error": "Look the rows up by the keys on the run page. If the files are at fault have them "
    "mended and land the day again; if the limit is, it stands in flows/checks/{}.",
}


class Note(NamedTuple):
    """One thing to look at, about a table, file, dbt node or check; no value of data. `kind` is a
    key of KINDS."""

    kind: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"

    @property
    def as_failure(self) -> str:
        """The note in a list of what failed."""
        return f"{self.name} {self.text}" if self.kind == "failed" else str(self)


@dataclass(frozen=True)
class Story:
    """What is known about a run, or (`run` is None) about a warehouse in which no flow has run.

    `notes`: what to look at, the worst first. `accepted`: lines about warnings that are accepted.
    """

    run: Row | None
    landings: list[Row]
    checks: list[Row]
    notes: list[Note]
    accepted: list[str]

    @property
    def has_failed(self) -> bool:
        return self.run is not None and self.run["status"] == "failure"

    def failures(self, shown: str | None = "") -> list[Note]:
        """The notes of what failed, without those whose reason is in the text already `shown`."""
        return [
            note
            for note in self.notes
            if note.kind in FAILING
            and note.text.removeprefix("did not land: ") not in (shown or "")
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
        """Heading → the lines below it, without failures that the run's own message names."""
        why = self.run["error_message"] if self.run else None
        return {
            "failed": [str(note) for note in self.failures(shown=why)],
            "warnings": [str(note) for note in self.notes if note.kind not in FAILING],
            "known": self.accepted,
        }


def read_story(connection: Connection, flow_run_id: str, day: date) -> Story:
    """The story of a run, or of the landed day where the id is empty."""
    run = next(iter(read.runs(connection, 1, run=flow_run_id)), None)
    landings = ask(connection, "landings", run=flow_run_id or None, day=day)
    checks = read.checks(connection, flow_run_id)
    failures = ask(connection, "failures", run=flow_run_id)
    reasons = {row["table_name"]: row["why"] for row in landings}
    reasons |= {row["name"]: row["error_message"] for row in failures}
    status = {row["table_name"]: row["status"] for row in landings}  # of the last attempt
    tables = [row["name"] for row in failures if row["pipeline_name"] == "landing"]
    tables = [name for name in [*tables, *status] if status.get(name, "failed") == "failed"]
    notes = [*_landing_notes(landings)]
    for table in dict.fromkeys(tables):
        reason = (reasons.get(table) or "it is there").removeprefix(f"{table}: ")
        notes.append(Note("failed", table, f"did not land: {reason}"))
    for row in ask(connection, "nodes", run=flow_run_id):
        if row["status"] == "warn":
            notes.append(Note("dbt", row["node"], "dbt warns"))
        else:
            reason = reasons.get(row["node"]) or row["status"]
            notes.append(Note("node", f"dbt's {row['resource_type']} {row['node']}", reason))
    notes += [Note("unaccepted", *entry) for entry in read_accepted()[1].items()]
    accepted = []
    for row in (row for row in checks if not row["success"]):
        against = "" if row["unexpected_count"] is None else "against it: "
        text = f"{row['description']}; {against}{row['observed'] or 'it failed'}"
        note = Note(row["severity"], row["name"], text)
        if entry := row["accepted"]:
            accepted.append(f"accepted until {entry['until']}: {note} ({entry['reason']})")
        else:
            notes.append(note)
    notes.sort(key=lambda note: [*KINDS].index(note.kind))
    return Story(run, landings, checks, notes, accepted)


def _landing_notes(landings: list[Row]) -> Iterator[Note]:
    for row in landings:
        name, drift = row["table_name"], row["drift"] or {}
        if row["status"] == "unused":
            yield Note("unused", name, row["why"].removeprefix(f"{name}: "))
        elif repaired := row["rows_repaired"]:
            text = f"rows landed repaired: {repaired:,}; bronze.load_rejects has their text"
            yield Note("repaired", name, text)
        # changes since the day before; what is always missing or unknown is no news
        news = [f"{kind}: {_few(drift[kind])}" for kind in ("added", "gone") if kind in drift]
        if news and row["status"] == "succeeded":
            yield Note("drift", name, f"fields {'; '.join(news)}")


def _few(names: list[str]) -> str:
    """The first names: JSON that has ids for field names brings thousands."""
    more = f" and {len(names) - FIELDS:,} more" if len(names) > FIELDS else ""
    return ", ".join(name[:60] for name in names[:FIELDS]) + more


class Verdict(NamedTuple):
    """How a run went: a kind for the page's colour, a word for its title, a sentence."""

    kind: str
    word: str
    sentence: str


def verdict(story: Story, ledger: list[Row]) -> Verdict:
    """The verdict on a run, by its notes and the day's row ledger."""
    if story.run and story.has_failed:
        error = story.run["error_message"] or "The run ended early."
        begins_with_table = error.startswith("stg_")
        sentence = error if begins_with_table else error[:1].upper() + error[1:]
        return Verdict("failure", "failed", sentence)
    if story.run and story.run["status"] == "running":
        return Verdict("running", "is running", "Figures are those of a moment.")
    quarantined = sum(row["rows_quarantined"] for row in ledger)
    unbalanced = ", ".join(row["target"] for row in ledger if not row["balanced"])
    counted = Counter(note.kind for note in story.notes)
    count: dict[str, int | str] = {**counted}
    if counted["unused"] > NAMED:
        count["unused"] = f"more than {NAMED}"
    sentence = "; ".join(
        [
            f"{many(landed_once(ledger, 'rows_landed'), 'row')} landed"
            + (f", {quarantined:,} quarantined" if quarantined else ""),
            f"the ledger does NOT balance for {unbalanced}"
            if unbalanced
            else "each row has exactly one end",
            *(words.format(count[kind]) for kind, words in KINDS.items() if kind in count),
        ]
    )
    return Verdict("warned" if unbalanced or story.notes else "success", "is done", f"{sentence}.")


def landed_once(ledger: list[Row], column: str) -> int:
    """The sum of a ledger column that counts landed rows: each table once, not by target."""
    own = [row for row in ledger if row.get("target") != "group_memberships"] or ledger
    return sum(row[column] or 0 for row in {row["table_name"]: row for row in own}.values())


class News(NamedTuple):
    """A run's notes, new or known, compared with those of the day before. `since` is that day, or
    None; `gone` are its notes that this run does not have."""

    since: Day | None
    new: list[str]
    known: list[str]
    gone: list[str]


def read_news(
    connection: Connection, day: Day, story: Story, reasons: Callable[[Day], list[Reason]]
) -> News:
    """Compare a run of `day`, and its reasons for quarantine, with the last checked run of the
    nearest earlier day."""
    now, then, since = _by_finding(story.notes, reasons(day)), {}, None
    for before in ask(connection, "checked", day=day.date):
        since = Day(before["day"], day.calendar)
        earlier = read_story(connection, before["flow_run_id"], since.date)
        then = _by_finding(earlier.notes, reasons(since))
    listed = FAILING if story.has_failed else {}  # already, as what failed
    return News(
        since,
        [line for key, line in now.items() if key not in then and key[0] not in listed],
        [line for key, line in now.items() if key in then and key[0] not in listed],
        [line for key, line in then.items() if key not in now and key[0] != "drift"],
    )


def _by_finding(notes: list[Note], reasons: list[Reason]) -> dict[tuple[str, str, str], str]:
    """The lines, by what tells one finding from another. Each change of fields is another finding;
    of all others only the numbers change from day to day."""
    lines = {
        (note.kind, note.name, note.text if note.kind == "drift" else ""): str(note)
        for note in notes
    }
    for reason in reasons:
        line = f"{reason.table}: {reason.rows:,} in quarantine as {reason.reason}"
        lines["reason", reason.table, reason.reason] = line
    return lines
