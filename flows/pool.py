"""The work pool: made, held against what a day needs, and rid of runs that nobody works on.

When a worker and its flow processes are killed, Prefect shows their runs as Running for ever and
keeps their slots. Whether a run is at work is PostgreSQL's to say: its session.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import State, WorkPoolStatus
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Crashed

from flows.api import POOL
from loaders.errors import DaybookError, UsageError
from loaders.lock import sessions
from loaders.sources import PROJECT

SLOTS = 8  # a distributed day with its tables, and a second day that waits
OPEN = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
# What its workers start: one command, with this Python (a worker's own may not be on its path),
# and no variable by which a run could have another.
JOB_TEMPLATE: dict[str, Any] = {
    "job_configuration": {
        "command": f"{shlex.quote(sys.prefix)}/bin/python3 -m prefect.engine",
        "working_dir": str(PROJECT),
    },
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}


def make() -> None:
    """Make the pool, or what it starts what it has to be."""
    pool = WorkPoolCreate(
        name=POOL, type="process", concurrency_limit=SLOTS, base_job_template=JOB_TEMPLATE
    )
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:  # the user's limit stays
            client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=JOB_TEMPLATE))


def project_folder() -> dict[str, str]:
    """prefect.yaml's build step: where runs work. DaybookError, before anything is deployed, where
    the pool's workers would start them otherwise: each run would crash, or obey whoever calls."""
    with get_client(sync_client=True) as client:
        found = client.read_work_pool(POOL).base_job_template["job_configuration"]
    if found != JOB_TEMPLATE["job_configuration"]:
        raise DaybookError(
            f"Workers of the pool {POOL} start a run by `{found.get('command')}` in "
            f"{found.get('working_dir')}, which is not this environment and project: make deploy."
        )
    return {"folder": str(PROJECT)}


def refuse_small(*, on_pool: bool) -> None:
    """UsageError unless the pool is there, has a worker, and holds parents and children at once.
    `on_pool`: the day takes a place of it too."""
    waiting = [*["the day"] * on_pool, "land-day", "a table"]  # each for the next
    try:
        with get_client(sync_client=True) as client:
            pool = client.read_work_pool(POOL)
    except ObjectNotFound:
        raise UsageError(
            f"This Prefect server has no work pool {POOL}: make up, or make deploy."
        ) from None
    limit = pool.concurrency_limit
    if limit is not None and limit < len(waiting):
        raise UsageError(
            f"The work pool {POOL} runs {limit} at once, and {len(waiting)} wait for each other: "
            f"{', '.join(waiting)}. Raise it: prefect work-pool set-concurrency-limit {POOL} 8."
        )
    if pool.status != WorkPoolStatus.READY:
        raise UsageError(f"No worker is at work in the pool {POOL}: make up.")


def reap() -> None:
    """Mark the pool's open runs Crashed whose processes are gone: before a worker starts."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(OPEN),
            work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [POOL]}}),
        )
    alive = sessions()
    mark_crashed([str(run.id) for run in runs if str(run.id)[:8] not in alive])


def mark_crashed(flow_run_ids: list[str]) -> None:
    """Close runs that ended without a word; one that outlived PostgreSQL has said why it ended."""
    if not flow_run_ids:
        return
    crashed: State[None] = Crashed(message="Its worker or its process is gone.")
    with get_client(sync_client=True) as client:
        for flow_run_id in map(UUID, flow_run_ids):
            # It may be a run of another Prefect server; and a server that is away must not fail the
            # day that calls this.
            with contextlib.suppress(ObjectNotFound, HTTPError):
                state = client.read_flow_run(flow_run_id).state
                if state and not state.is_final():
                    client.set_flow_run_state(flow_run_id, crashed, force=True)
