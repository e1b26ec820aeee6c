"""The benchmarks run, at sizes that say nothing of speed; where two contestants compute the same
thing, they compare their results themselves and fail on a difference."""

import subprocess
import sys

import pytest

from loaders.sources import PROJECT


@pytest.mark.slow
def test_every_benchmark_runs():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    measured = {line.split()[0] for line in done.stdout.splitlines() if "  " in line}
    assert measured == {"flow", "orchestration", "landing", "transactions", "activity", "day"}
