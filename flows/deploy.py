"""Send prefect.yaml's deployments to the server, by `prefect deploy`: `python -m flows.deploy`.

Waits for a server that is still starting, and makes the pool first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import yaml

from flows import api
from loaders import process
from loaders.arguments import command, option
from loaders.errors import DaybookError, UsageError
from loaders.sources import PROJECT

FILE = "prefect.yaml"


def declared() -> list[str]:
    """The names of prefect.yaml's deployments; each has the name of its flow."""
    deployments = yaml.safe_load((PROJECT / FILE).read_text(encoding="utf-8"))["deployments"]
    return [deployment["name"] for deployment in deployments]


def deploy(names: list[str], seconds: float = 60.0) -> None:
    """Make or mend the pool, then deploy the deployments of these names. DaybookError when the
    server doesn't answer within `seconds` or refuses, or when `prefect deploy` fails."""
    os.environ.update({**api.environment(), **api.connection()})
    url = os.environ[api.ADDRESS]
    if not process.until(lambda: api.answers(url), seconds):
        raise DaybookError(f"No Prefect server answers at {url}: make up, or PREFECT_API_URL.")
    from flows import distributed  # now that the environment says which server

    distributed.make_pool()
    chosen = [word for name in names for word in ("--name", name)]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *chosen]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DaybookError(f"Not deployed:\n{(done.stdout + done.stderr).strip()[-2000:]}")


@command(
    "flows.deploy",
    "Send prefect.yaml's deployments to the Prefect server.",
    "example: PREFECT_API_URL=http://127.0.0.1:4200/api %(prog)s",
    option("names", nargs="*", metavar="NAME", help="a deployment (default: all)"),
    option("--wait", type=float, default=60.0, metavar="S", help="for the server (default: 60)"),
)
def main(args: argparse.Namespace) -> None:
    known = declared()
    if unknown := [name for name in args.names if name not in known]:
        raise UsageError(f"{FILE} has no {unknown[0]}, but {', '.join(known)}.")
    names = args.names or known
    print("sending deployments to Prefect's server", file=sys.stderr, flush=True)
    deploy(names, args.wait)
    print("\n".join(f"deployed {name}" for name in names))


if __name__ == "__main__":
    sys.exit(main())
