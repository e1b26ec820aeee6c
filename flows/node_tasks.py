"""Every node of a dbt build a task run in Prefect, told through its API by a thread of our own.

PrefectDbtRunner shows nodes too, at three to four times the cost of `dbt build`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from flows.transform import first_line

if TYPE_CHECKING:
    from prefect import State, Task


class NodeRuns:
    """A callback for dbt's events that keeps one task run per node: Running, then Completed, Failed
    or Cancelled. dbt never waits for Prefect, and a report that fails does not fail the build."""

    # An exposure is a node too, and there is nothing to do for it.
    FINE = ("success", "pass", "warn", "no-op")

    def __init__(self, flow_run_id: str, task: Task[[], None]) -> None:
        from prefect import get_client

        self._flow_run_id, self._task = UUID(flow_run_id), task
        self._runs: dict[str, UUID] = {}  # at work, by dbt's id of the node
        self._client = get_client(sync_client=True)
        self._teller = ThreadPoolExecutor(1, "node-runs")

    def __call__(self, event: Any) -> None:
        if event.info.name == "NodeStart":
            self._started(event.data.node_info)
        elif event.info.name == "NodeFinished":
            self._finished(event.data.node_info, event.data.run_result)

    def _started(self, node: Any) -> None:
        from prefect.states import Running

        run_id = self._runs[node.unique_id] = uuid4()
        self._tell(
            self._client.create_task_run,
            self._task,
            self._flow_run_id,
            dynamic_key=str(run_id),
            id=run_id,
            name=node.node_name,
            extra_tags=[str(node.resource_type)],
            state=Running(),
        )

    def _finished(self, node: Any, result: Any) -> None:
        from prefect.states import Completed, Failed

        said = f"{result.status}: {first_line(result.message)}" if result.message else None
        self._end(
            node.unique_id, (Completed if result.status in self.FINE else Failed)(message=said)
        )

    def _end(self, node: str, state: State[Any]) -> None:
        if run_id := self._runs.pop(node, None):  # a node that is skipped never started
            self._tell(self._client.set_task_run_state, run_id, state, force=True)

    def _tell(self, ask: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        def told() -> None:
            with contextlib.suppress(Exception):
                ask(*arguments, **named)

        self._teller.submit(told)

    def close(self) -> None:
        """Nodes that were running when dbt was interrupted are cancelled."""
        from prefect.states import Cancelled

        for node in list(self._runs):
            self._end(node, Cancelled(message="the build was interrupted"))
        self._teller.shutdown()
