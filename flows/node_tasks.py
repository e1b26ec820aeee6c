"""Every node of a dbt build a task run in Prefect.

PrefectDbtRunner shows nodes too, at three to four times the cost of `dbt build`; here each node
costs two events on the channel that Prefect's own task engine reports on.
"""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID, uuid4

from flows.transform import first_line


class NodeRuns:
    """A callback for dbt's events that keeps one Prefect task run per node: Running, then
    Completed, Failed or Cancelled. Reporting is Prefect's background thread, never dbt's."""

    # An exposure is a node too, and there is nothing to do for it.
    FINAL = dict.fromkeys(("success", "pass", "warn", "no-op"), "COMPLETED")

    def __init__(self, flow_run_id: str) -> None:
        self.flow_run_id = flow_run_id
        self._runs: dict[str, Any] = {}

    def __call__(self, event: Any) -> None:
        name = event.info.name
        if name in {"NodeStart", "NodeFinished"}:
            # A report that fails must not fail the build.
            with contextlib.suppress(Exception):
                node = event.data.node_info
                if name == "NodeStart":
                    self._started(node)
                else:
                    self._finished(node, event.data.run_result)

    def _started(self, node: Any) -> None:
        from prefect.client.schemas import TaskRun
        from prefect.states import Pending, Running

        run = TaskRun(
            id=uuid4(),
            flow_run_id=UUID(self.flow_run_id),
            name=node.node_name,
            task_key=f"dbt-{node.resource_type}",
            dynamic_key=f"{node.unique_id}-{uuid4().hex[:8]}",
            tags=["dbt", str(node.resource_type)],
            run_count=1,
        )
        self._runs[node.unique_id] = run
        self._report(run, Pending(), Running())

    def _finished(self, node: Any, result: Any) -> None:
        from prefect.client.schemas import State
        from prefect.client.schemas.objects import StateType

        run = self._runs.pop(node.unique_id, None)
        if run is None:  # skipped: it never started
            return
        final = self.FINAL.get(result.status, "FAILED")
        message = f"{result.status}: {first_line(result.message)}" if result.message else None
        ended = State(type=StateType(final), message=message)
        run.end_time = ended.timestamp
        run.total_run_time = ended.timestamp - run.start_time
        self._report(run, run.state, ended)

    def close(self) -> None:
        """Nodes that were running when dbt was interrupted are cancelled."""
        from prefect.states import Cancelled

        for key in list(self._runs):
            run = self._runs.pop(key)
            with contextlib.suppress(Exception):
                self._report(run, run.state, Cancelled(message="the build was interrupted"))

    def _report(self, run: Any, before: Any, after: Any) -> None:
        from prefect.utilities.engine import emit_task_run_state_change_event

        after.state_details.flow_run_id = run.flow_run_id
        after.state_details.task_run_id = run.id
        run.state, run.state_type, run.state_name = after, after.type, after.name
        if run.start_time is None:
            run.start_time = after.timestamp
        emit_task_run_state_change_event(run, before, after)
