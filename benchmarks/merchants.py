"""How good the matching of merchants' names is, by names that were labelled by hand.

`python -m benchmarks.merchants tests/labels/merchants.csv`
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path

from loaders.catalogue import Catalogue, match_merchants, read_catalogue


@dataclass(frozen=True)
class Quality:
    """How a matcher did on labelled names: shares of 1."""

    names: int
    given: int
    right: int
    wanted: int

    @property
    def precision(self) -> float:
        return self.right / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.wanted if self.wanted else 1.0


def evaluate(labels: Path) -> tuple[Quality, Quality]:
    """Precision and recall on the rows to tune on (1st, 3rd, …) and on those held out (2nd, …).

    `labels` has raw_name and application, empty for a name that is none of the catalogue's.
    Overrides are left out: the matcher is judged, not what people corrected.
    """
    with labels.open(encoding="utf-8", newline="") as file:
        rows = [(row["raw_name"], row["application"] or None) for row in csv.DictReader(file)]
    catalogue = replace(read_catalogue(), overrides={})
    tuned, held_out = (_judged(rows[half::2], catalogue) for half in (0, 1))
    return tuned, held_out


def _judged(rows: list[tuple[str, str | None]], catalogue: Catalogue) -> Quality:
    found = [each.match for each in match_merchants([name for name, _ in rows], catalogue)]
    right = sum(
        got is not None and got == wanted for got, (_, wanted) in zip(found, rows, strict=True)
    )
    given = sum(got is not None for got in found)
    return Quality(len(rows), given, right, sum(wanted is not None for _, wanted in rows))


def main(labels: Path) -> None:
    for half, quality in zip(("tuned on", "held out"), evaluate(labels), strict=True):
        print(
            f"{half}: {quality.names} names, {quality.wanted} of them applications; "
            f"precision {quality.precision:.3f} ({quality.right} of {quality.given}), "
            f"recall {quality.recall:.3f} ({quality.right} of {quality.wanted})"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merchants", description=__doc__)
    parser.add_argument("labels", type=Path, help="CSV of names and their applications")
    main(parser.parse_args().labels)
