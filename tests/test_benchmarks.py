"""The benchmarks run, at sizes that say nothing of speed; where two contestants compute the same
thing, they compare their results themselves and fail on a difference."""

import subprocess
import sys

import pytest

from loaders.sources import PROJECT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ((), {"flow", "orchestration", "landing", "transactions", "activity", "day"}),
        (("history",), {"history"}),
        pytest.param(
            ("spark",),
            {"spark"},
            marks=[pytest.mark.spark, pytest.mark.xdist_group("spark")],
        ),
    ],
)
def test_every_benchmark_runs(named, expected):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *named, "--quick"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    measured = {line.split()[0] for line in done.stdout.splitlines() if "  " in line}
    assert measured == expected
