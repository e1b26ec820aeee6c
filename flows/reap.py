"""Close Prefect runs that nobody works on any more: `python -m flows.reap`, before a worker starts.

When a worker and its flow processes are killed, Prefect shows the runs as Running for ever and
keeps their slots. Whether a run is at work is PostgreSQL's to say: its session.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from flows import api
from flows.command import guarded
from loaders.lock import children_alive, runs_alive

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

OPEN = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}


def reap() -> list[str]:
    """Mark the pool's open runs Crashed whose processes are gone; their ids."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter, WorkPoolFilterName

    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(OPEN),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[api.POOL])),
        )
        dead = [run for run in found if not _is_alive(run)]
        for run in dead:
            _crash(client, run, "Its worker or its process is gone.")
    return [str(run.id) for run in dead]


def mark_crashed(days: list[str]) -> None:
    """Close the runs of days that ended without a word, and the backfills that they belong to."""
    from prefect.client.orchestration import get_client

    if not days:
        return
    with get_client(sync_client=True) as client:
        for flow_run_id in days:
            # The run may be one of another Prefect server.
            with contextlib.suppress(Exception):
                for run in _with_parents(client, UUID(flow_run_id)):
                    _crash(client, run, "The run ended without closing its row.")


def _is_alive(run: FlowRun) -> bool:
    day = run.parameters.get("run_id")  # that of a phase
    return str(run.id)[:8] in children_alive(day) if day else str(run.id) in runs_alive()


def _crash(client: SyncPrefectClient, run: FlowRun, why: str) -> None:
    from prefect.states import Crashed

    if run.state and not run.state.is_final():  # one that outlived PostgreSQL has said why
        client.set_flow_run_state(run.id, Crashed(message=why), force=True)


def _with_parents(client: SyncPrefectClient, flow_run_id: UUID) -> Iterator[FlowRun]:
    """A flow run and those that wait for it: of a table land-day, the day, and its backfill."""
    run = client.read_flow_run(flow_run_id)
    yield run
    if run.parent_task_run_id:
        above = client.read_task_run(run.parent_task_run_id).flow_run_id
        if above is not None:  # else a task that nobody's flow called
            yield from _with_parents(client, above)


def main() -> int:
    def command() -> int:
        for each in reap():
            print(f"marked {each} Crashed")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
