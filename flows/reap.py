"""Close Prefect runs that nobody works on any more: `python -m flows.reap`, before a worker starts.

When a worker and its flow processes are killed, Prefect shows the runs as Running for ever and
keeps their slots. Whether a run is at work is PostgreSQL's to say: its session.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING
from uuid import UUID

from flows import api
from flows.command import guarded
from loaders.lock import sessions

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

OPEN = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}


def reap() -> list[str]:
    """Mark the pool's open runs Crashed whose processes are gone; their ids."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter

    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(OPEN),
            work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [api.POOL]}}),
        )
        alive = sessions()
        dead = [run for run in found if str(run.id)[:8] not in alive]
        for run in dead:
            _crash(client, run)
    return [str(run.id) for run in dead]


def mark_crashed(days: list[str]) -> None:
    """Close the runs of days that ended without a word."""
    from prefect.client.orchestration import get_client

    if not days:
        return
    with get_client(sync_client=True) as client:
        for flow_run_id in map(UUID, days):
            with contextlib.suppress(Exception):  # it may be a run of another Prefect server
                _crash(client, client.read_flow_run(flow_run_id))


def _crash(client: SyncPrefectClient, run: FlowRun) -> None:
    from prefect.states import Crashed

    if run.state and not run.state.is_final():  # one that outlived PostgreSQL has said why
        gone: State[None] = Crashed(message="Its worker or its process is gone.")
        client.set_flow_run_state(run.id, gone, force=True)


def main() -> int:
    def command() -> int:
        for each in reap():
            print(f"marked {each} Crashed")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
