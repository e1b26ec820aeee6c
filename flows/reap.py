"""Close Prefect runs that nobody works on any more: `python -m flows.reap`.

When a worker and its flow processes are killed, Prefect shows the runs as Running for ever and
keeps their slots. Whether a day is at work is PostgreSQL's to say: the run lock.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from flows import stack

OPEN = ["RUNNING", "PENDING", "CANCELLING"]


def reap(holder: str | None) -> list[str]:
    """Mark the pool's open runs Crashed, apart from the day that holds the warehouse and the runs
    that work for it; their ids. `holder`: that day's flow run, None when the lock is free."""
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
            if holder is None or works_for != holder:
                with contextlib.suppress(Exception):
                    state: Any = Crashed(message="Its worker or its process is gone.")
                    client.set_flow_run_state(run.id, state, force=True)
                    ended.append(str(run.id))
    return ended


def main() -> int:
    from flows.day import guarded
    from flows.status import read_holder
    from loaders import warehouse

    def command() -> int:
        with warehouse.connect(application_name="daybook reap", autocommit=True) as connection:
            holder = read_holder(connection) or ""
        run_id = holder.split(" ")[2] if holder.startswith("daybook run ") else None
        for each in reap(run_id):
            print(f"marked {each} Crashed")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
