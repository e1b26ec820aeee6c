"""Close Prefect runs that nobody works on any more: `python -m flows.reap`.

When a worker and its flow processes are killed, Prefect shows the runs as Running for ever and
keeps their slots. Whether a day is at work is PostgreSQL's to say: its session.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING
from uuid import UUID

from flows import stack
from flows.command import guarded
from loaders.lock import runs_alive

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

OPEN = ["RUNNING", "PENDING", "CANCELLING"]


def reap(alive: set[str]) -> list[str]:
    """Mark the pool's open runs Crashed, apart from the days and backfills that are `alive` and
    the runs that work for them; the ids of the marked."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter, WorkPoolFilterName
    from prefect.states import Crashed

    ended = []
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": OPEN}}}),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[stack.POOL])),
        )
        for run in found:
            works_for = run.parameters.get("run_id") or str(run.id)
            if works_for not in alive:
                with contextlib.suppress(Exception):
                    state: State = Crashed(message="Its worker or its process is gone.")
                    client.set_flow_run_state(run.id, state, force=True)
                    ended.append(str(run.id))
    return ended


def with_parents(client: SyncPrefectClient, flow_run_id: UUID) -> list[FlowRun]:
    """A flow run and those that wait for it: of a table land-day, the day, and its backfill."""
    runs = [client.read_flow_run(flow_run_id)]
    while task_run_id := runs[-1].parent_task_run_id:
        above = client.read_task_run(task_run_id).flow_run_id
        if above is None:  # a task that nobody's flow called
            break
        runs.append(client.read_flow_run(above))
    return runs


def main() -> int:
    def command() -> int:
        for each in reap(runs_alive()):
            print(f"marked {each} Crashed")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
