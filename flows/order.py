"""The order of a day's phases, whoever runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flows.run import Run

Done = dict[str, dict[str, str]]  # phase → id and state of its run

BESIDE_EACH_OTHER = ("prepare-day", "land-day", "sweep-orphans")
# What depends on all that was before it, with what a watching person is told.
IN_ORDER = {
    "match-names": "matching names",
    "transform-day": "building",
    "check-day": "checking",
    "finish-day": "checking the ledger",
    "expire-days": "expiring days",
}


def run_in_order(run: Run, run_phases: Callable[[Run, Iterable[str]], Done]) -> Done:
    """A day's phases by `run_phases`, which raises the failure of one: then none follows."""
    run.progress("landing")
    done = run_phases(run, BESIDE_EACH_OTHER)
    for name, doing in IN_ORDER.items():
        run.progress(doing)
        done |= run_phases(run, [name])
    return done
