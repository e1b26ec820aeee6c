"""`python -m benchmarks.peak MODULE …` runs a module and then prints the most memory, in MB, that
this process or one that it started ever held. Asked of the process itself: what a parent is told of
a child counts the parent's own memory before the exec."""

import contextlib
import resource
import runpy
import sys
from pathlib import Path


def _peak() -> float:
    return max(_own(), _megabytes(resource.RUSAGE_CHILDREN))


def _own() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return _megabytes(resource.RUSAGE_SELF)


def _megabytes(whose: int) -> float:
    most = resource.getrusage(whose).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    code = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    print(f"\n{_peak():.1f}")
    sys.exit(code)
