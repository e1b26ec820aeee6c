"""The benchmarks run, at sizes that say nothing of speed; where two contestants compute the same
thing, they compare their results themselves and fail on a difference."""

import os

import pytest


@pytest.mark.slow
def test_benchmarks_of_one_contestant_against_another_run(forks):
    named = ("landing", "transactions", "activity", "history")
    done = forks.start("benchmarks", *named, "--quick", env=dict(os.environ))
    assert done.wait() == 0, done.stderr[-3000:]
    measured = {line.split()[0] for line in done.stdout.splitlines() if "  " in line}
    assert measured == set(named)
