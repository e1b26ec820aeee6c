"""The benchmarks run, at sizes that say nothing of speed; where two contestants compute the same
thing, they compare their results themselves and fail on a difference."""

import subprocess
import sys

import pytest

from loaders.sources import PROJECT


@pytest.mark.slow
def test_benchmarks_of_one_contestant_against_another_run():
    named = ("landing", "transactions", "activity", "history")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *named, "--quick"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    measured = {line.split()[0] for line in done.stdout.splitlines() if "  " in line}
    assert measured == set(named)
