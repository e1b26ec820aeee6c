"""Send prefect.yaml's deployments to the server: `python -m flows.deploy`.

Waits for a server that is still starting. `prefect deploy` ends well, too, where it has left a
deployment out: here that is a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

from flows import stack
from flows.command import guarded
from loaders.errors import DaybookError
from loaders.sources import PROJECT

FILE = "prefect.yaml"
SLOTS = 8  # the pool's: a distributed day with its tables, and a second day that waits


def declared() -> list[str]:
    """The names of prefect.yaml's deployments, each that of its flow."""
    import yaml

    found = yaml.safe_load((PROJECT / FILE).read_text(encoding="utf-8"))["deployments"]
    return [each["name"] for each in found]


def deploy(seconds: float = 60.0) -> list[str]:
    """Create the pool and all deployments; their names. DaybookError when the server doesn't
    answer within `seconds`, or a deployment isn't there in the end."""
    settings = stack.environment()
    if "PREFECT_API_URL" not in os.environ and (url := stack.api_url()):
        settings["PREFECT_API_URL"] = url
    url = settings["PREFECT_API_URL"]
    deadline = time.monotonic() + seconds
    while not stack.answers(url):
        if time.monotonic() > deadline:
            raise DaybookError(f"No Prefect server answers at {url}: make up, or PREFECT_API_URL.")
        time.sleep(0.5)
    os.environ.update(settings)
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    since = datetime.now(UTC) - timedelta(seconds=5)  # clocks of two machines
    with get_client(sync_client=True) as client:
        pool = WorkPoolCreate(name=stack.POOL, type="process", concurrency_limit=SLOTS)
        with contextlib.suppress(ObjectAlreadyExists):  # the user's limit stays
            client.create_work_pool(pool)
        command = ["--no-prompt", "deploy", "--all", "--prefect-file", FILE]
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command],
            cwd=PROJECT,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        found = client.read_deployments()
    there = {each.name for each in found if each.updated and each.updated >= since}
    missing = [name for name in declared() if name not in there]
    if done.returncode != 0 or missing:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise DaybookError(f"Not deployed: {', '.join(missing) or 'see below'}\n{said}")
    return declared()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.deploy",
        description="Send prefect.yaml's deployments to the Prefect server.",
        epilog="example: PREFECT_API_URL=http://127.0.0.1:4200/api python -m flows.deploy",
    )
    parser.add_argument("--wait", type=float, default=60.0, metavar="S", help="for the server")
    given = parser.parse_args(argv)

    def command() -> int:
        for name in deploy(given.wait):
            print(f"deployed {name}")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
