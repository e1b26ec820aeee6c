"""Close Prefect runs that nobody works on any more: `python -m flows.reap`, before a worker starts.

When a worker and its flow processes are killed, Prefect shows the runs as Running for ever and
keeps their slots. Whether a run is at work is PostgreSQL's to say: its session.
"""

from __future__ import annotations

import contextlib
import sys
from uuid import UUID

from flows import api
from loaders.errors import guarded
from loaders.lock import sessions

OPEN = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}


def reap() -> list[str]:
    """Mark the pool's open runs Crashed whose processes are gone; their ids."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(OPEN),
            work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [api.POOL]}}),
        )
    alive = sessions()
    return mark_crashed([str(run.id) for run in runs if str(run.id)[:8] not in alive])


def mark_crashed(flow_run_ids: list[str]) -> list[str]:
    """Close runs that ended without a word, those that Prefect knows; the ids of those. (One that
    outlived PostgreSQL has said why it ended.)"""
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import State
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    if not flow_run_ids:
        return []
    closed = []
    crashed: State[None] = Crashed(message="Its worker or its process is gone.")
    with get_client(sync_client=True) as client:
        for flow_run_id in flow_run_ids:
            # It may be a run of another Prefect server; and a server that is away must not fail the
            # day that calls this.
            with contextlib.suppress(ObjectNotFound, HTTPError):
                state = client.read_flow_run(UUID(flow_run_id)).state
                if state and not state.is_final():
                    client.set_flow_run_state(UUID(flow_run_id), crashed, force=True)
                    closed.append(flow_run_id)
    return closed


def main() -> int:
    def command() -> int:
        for each in reap():
            print(f"marked {each} Crashed")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
