"""The catalogue of applications, and which of them a merchant's name means.

In order: an override, an alias exactly, an alias that the statement cut off, then RapidFuzz. Only
aliases marked `*` in the seed, the distinctive ones, may be misspelt or followed by other words.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

from loaders.errors import DaybookError
from loaders.names import PLACES, plain, readings, shortened, words
from loaders.sources import PROJECT

APPLICATIONS = PROJECT / "seeds" / "applications.csv"
OVERRIDES = PROJECT / "seeds" / "merchant_overrides.csv"

RULES = "1"  # part of the catalogue's hash: another matcher looks at unmatched names again
THRESHOLD = 83.0  # of RapidFuzz's OSA similarity: one slip in six letters
MARGIN = 4.0  # two applications closer than this are ambiguous
SHORTEST = 6  # letters; a shorter alias has too many neighbours to be guessed at
LONGEST = 4  # words of an alias that may be followed by others
CUT_FROM, CUT_TO, CUT_SHARE, CUT_SCORE = 10, 8, 0.6, 90.0
CELLS = 2_000_000  # of a similarity matrix held at once: 8 MB

Method = Literal["override", "exact", "fuzzy", "ambiguous", "none"]


@dataclass(frozen=True)
class Match:
    """What a name means: an application or an agent's id; None for none. `score` is 0 to 100."""

    match: str | None
    score: float | None
    method: Method


NONE = Match(None, None, "none")
AMBIGUOUS = Match(None, None, "ambiguous")


@dataclass(frozen=True)
class Catalogue:
    """Aliases as they are looked up, and the overrides by name; `hash` tells contents apart."""

    hash: str
    applications: frozenset[str]
    whole: dict[str, str]  # letters of an alias → application
    cut: dict[str, str]  # letters of an alias's beginning → application
    distinctive: dict[int, dict[str, str]]  # words in the alias → alias → application
    overrides: dict[str, str | None]


def read_catalogue(applications: Path = APPLICATIONS, overrides: Path = OVERRIDES) -> Catalogue:
    """The catalogue in the two seed files. DaybookError where they contradict themselves."""
    whole: dict[str, str] = {}
    cut: dict[str, set[str]] = defaultdict(set)
    distinctive: dict[int, dict[str, str]] = defaultdict(dict)
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
                distinctive[len(spelt)][" ".join(spelt)] = application
            if len(letters) >= CUT_FROM and (alias.endswith("*") or len(spelt) > 1):
                for length in range(max(CUT_TO, ceil(CUT_SHARE * len(letters))), len(letters)):
                    cut[letters[:length]].add(application)
    names = frozenset(row["application"] for row in rows)
    decided = {
        spelling(row["raw_name"]): row["application"] or None
        for row in _rows(overrides, "raw_name", "application")
    }
    if unknown := sorted({name for name in decided.values() if name} - names):
        raise DaybookError(f"{overrides.name}: not in the catalogue: {', '.join(unknown)}.")
    return Catalogue(
        hashlib.sha256(
            b"\x1f".join([RULES.encode(), applications.read_bytes(), overrides.read_bytes()])
        ).hexdigest(),
        names,
        whole,
        {letters: found.pop() for letters, found in cut.items() if len(found) == 1},
        distinctive,
        decided,
    )


def spelling(raw_name: str) -> str:
    """The name without what an override doesn't care about: case and repeated blanks."""
    return " ".join(raw_name.lower().split())


def match_merchants(names: Sequence[str], catalogue: Catalogue) -> list[Match]:
    """What each raw merchant name means, in the order given; memory is bounded."""
    found: dict[str, Match] = {}
    windows: dict[str, list[list[str]]] = {}
    for name in dict.fromkeys(names):
        if (spelt := spelling(name)) in catalogue.overrides:
            found[name] = Match(catalogue.overrides[spelt], None, "override")
            continue
        read = readings(name)
        if exact := _whole(read, catalogue):
            found[name] = exact
        else:
            windows[name] = read
    guesses = _guesses(windows.values(), catalogue)
    for name, read in windows.items():
        found[name] = next((m for r in read if (m := _guessed(r, guesses)) is not NONE), NONE)
    return [found[name] for name in names]


def _whole(read: list[list[str]], catalogue: Catalogue) -> Match | None:
    for reading in read:
        for shorter in shortened(reading):
            if application := catalogue.whole.get("".join(shorter)):
                return Match(application, 100.0, "exact")
        if application := catalogue.cut.get("".join(reading)):
            return Match(application, CUT_SCORE, "fuzzy")
    return None


def _guesses(read: Iterable[list[list[str]]], catalogue: Catalogue) -> dict[str, Match]:
    """The distinctive alias that each beginning of a reading is or is like, where there is one."""
    beginnings: dict[int, dict[str, None]] = defaultdict(dict)
    for reading in (reading for each in read for reading in each):
        for count in range(1, min(LONGEST, len(reading)) + 1):
            beginnings[count][" ".join(reading[:count])] = None
    guesses: dict[str, Match] = {}
    for count, asked in beginnings.items():
        aliases = catalogue.distinctive.get(count, {})
        unknown = []
        for beginning in asked:
            if beginning in aliases:
                guesses[beginning] = Match(aliases[beginning], 100.0, "exact")
            elif len(beginning) >= SHORTEST - 1:
                unknown.append(beginning)
        long = {alias: app for alias, app in aliases.items() if len(alias) >= SHORTEST}
        guesses |= alike(unknown, long, THRESHOLD)
    return guesses


def _guessed(reading: list[str], guesses: dict[str, Match]) -> Match:
    for count in range(min(LONGEST, len(reading)), 0, -1):
        if PLACES.isdisjoint(reading[count:]) and (guess := guesses.get(" ".join(reading[:count]))):
            return guess
    return NONE


def alike(asked: Sequence[str], known: Mapping[str, str], threshold: float) -> dict[str, Match]:
    """What each of `asked` is like among `known` (name → what it means), by RapidFuzz.

    A pair counts from `threshold` on and with the same first letter, which is rarely mistyped.
    """
    if not asked or not known:
        return {}
    from rapidfuzz.distance import OSA
    from rapidfuzz.process import cdist

    names, meanings = list(known), list(known.values())
    found: dict[str, Match] = {}
    step = max(1, CELLS // len(names))
    for start in range(0, len(asked), step):
        chunk = asked[start : start + step]
        scores = cdist(
            chunk, names, scorer=OSA.normalized_similarity, score_cutoff=(threshold - MARGIN) / 100
        )
        near: dict[int, list[tuple[float, str]]] = defaultdict(list)
        for row, column in zip(*scores.nonzero(), strict=True):
            if chunk[row][0] == names[column][0]:
                near[row].append((100 * float(scores[row, column]), meanings[column]))
        for row, pairs in near.items():
            best, meaning = max(pairs, key=lambda pair: pair[0])
            if best < threshold:
                continue
            rival = any(m != meaning and score > best - MARGIN for score, m in pairs)
            found[chunk[row]] = AMBIGUOUS if rival else Match(meaning, round(best, 1), "fuzzy")
    return found


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := set(columns) - set(reader.fieldnames or ()):
            raise DaybookError(f"{path.name} has no column {', '.join(sorted(missing))}.")
        return list(reader)
