"""The catalogue of applications, and which of them a merchant's name means.

Tried in order: an override, an exact alias, an alias that the statement cut off, RapidFuzz. Only
distinctive aliases, marked `*` in the seed, may be misspelt or followed by other words.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

from loaders.errors import DaybookError
from loaders.names import PLACES, plain, readings, shortened, words
from loaders.sources import PROJECT

APPLICATIONS = PROJECT / "seeds" / "applications.csv"
OVERRIDES = PROJECT / "seeds" / "merchant_overrides.csv"

RULES = "1"  # in the catalogue's hash: a new number has unmatched names matched again
THRESHOLD = 83.0  # of RapidFuzz's OSA similarity: one slip in six letters
MARGIN = 4.0  # two applications closer than this are ambiguous
SHORTEST = 6  # letters; a shorter name has too many neighbours to be guessed at
LONGEST = 4  # words of an alias that may be followed by others
CUT_FROM, CUT_TO, CUT_SHARE, CUT_SCORE = 10, 8, 0.6, 90.0  # letters: whole, cut; share; score


@dataclass(frozen=True)
class Match:
    """What a name means: `match` is an application or an agent's id; `score` is 0 to 100."""

    match: str | None
    score: float | None
    method: Literal["override", "exact", "fuzzy", "ambiguous", "none"]


NONE = Match(None, None, "none")
AMBIGUOUS = Match(None, None, "ambiguous")


@dataclass(frozen=True)
class Catalogue:
    """Aliases by how they are looked up, and the overrides by name; `hash` is of the contents."""

    hash: str
    applications: frozenset[str]
    whole: dict[str, str]  # letters of an alias → application
    cut: dict[str, str]  # letters of an alias's beginning → application
    # words in the alias and its first letter → alias → application
    distinctive: dict[tuple[int, str], dict[str, str]]
    overrides: dict[str, str | None]


def read_catalogue(applications: Path = APPLICATIONS, overrides: Path = OVERRIDES) -> Catalogue:
    """The catalogue of the two seed files. DaybookError when they contradict themselves."""
    whole: dict[str, str] = {}
    cut: dict[str, set[str]] = defaultdict(set)
    distinctive: dict[tuple[int, str], dict[str, str]] = defaultdict(dict)
    rows = _rows(applications, "application", "aliases")
    for row in rows:
        application = row["application"]
        for alias in row["aliases"].split("|"):
            letters, spelt = plain(alias), words(alias)
            if not letters or whole.setdefault(letters, application) != application:
                raise DaybookError(
                    f"{applications.name}: the alias {alias!r} of {application} is empty or "
                    f"that of {whole.get(letters)} too."
                )
            if alias.endswith("*") and len(spelt) <= LONGEST:
                distinctive[len(spelt), letters[0]][" ".join(spelt)] = application
            if len(letters) >= CUT_FROM and (alias.endswith("*") or len(spelt) > 1):
                for length in range(max(CUT_TO, ceil(CUT_SHARE * len(letters))), len(letters)):
                    cut[letters[:length]].add(application)
    names = frozenset(row["application"] for row in rows)
    decisions = {
        spelling(row["raw_name"]): row["application"] or None
        for row in _rows(overrides, "raw_name", "application")
    }
    if unknown := sorted({name for name in decisions.values() if name} - names):
        raise DaybookError(f"{overrides.name}: not in the catalogue: {', '.join(unknown)}.")
    return Catalogue(
        hashlib.sha256(
            b"\x1f".join([RULES.encode(), applications.read_bytes(), overrides.read_bytes()])
        ).hexdigest(),
        names,
        whole,
        {letters: owners.pop() for letters, owners in cut.items() if len(owners) == 1},
        distinctive,
        decisions,
    )


def spelling(raw_name: str) -> str:
    """The name as overrides are compared: in lower case, without repeated blanks."""
    return " ".join(raw_name.lower().split())


def match_merchants(names: Iterable[str], catalogue: Catalogue) -> list[Match]:
    """What each raw merchant name means, in the order given."""
    return [_meaning(name, catalogue) for name in names]


def _meaning(name: str, catalogue: Catalogue) -> Match:
    if (spelt := spelling(name)) in catalogue.overrides:
        return Match(catalogue.overrides[spelt], None, "override")
    ways = readings(name)
    for reading in ways:
        for shorter in shortened(reading):
            if application := catalogue.whole.get("".join(shorter)):
                return Match(application, 100.0, "exact")
        if application := catalogue.cut.get("".join(reading)):
            return Match(application, CUT_SCORE, "fuzzy")
    for reading in ways:
        for count in range(min(LONGEST, len(reading)), 0, -1):
            if PLACES.isdisjoint(reading[count:]):
                # the first letter is rarely mistyped
                aliases = catalogue.distinctive.get((count, reading[0][0]), {})
                match = nearest(" ".join(reading[:count]), aliases, THRESHOLD)
                if match != NONE:
                    return match
    return NONE


def nearest(name: str, known: Mapping[str, str | None], threshold: float) -> Match:
    """The match of a name in `known` (name → its meaning, None for several): exact, else by
    RapidFuzz with at least `threshold`; ambiguous when another meaning is within MARGIN."""
    if name in known:
        return Match(known[name], 100.0, "exact") if known[name] else AMBIGUOUS
    scorer, cutoff = OSA.normalized_similarity, (threshold - MARGIN) / 100
    long = [each for each in known if len(each) >= SHORTEST]
    near = extract(name, long, scorer=scorer, score_cutoff=cutoff, limit=None)
    if not near or 100 * near[0][1] < threshold:
        return NONE
    best, meaning = near[0][1], known[near[0][0]]
    if not meaning or any(known[n] != meaning and 100 * (best - s) < MARGIN for n, s, _ in near):
        return AMBIGUOUS
    return Match(meaning, round(100 * best, 1), "fuzzy")


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := set(columns) - set(reader.fieldnames or ()):
            raise DaybookError(f"{path.name} has no column {', '.join(sorted(missing))}.")
        return list(reader)
