"""The triggerer's supervisor, in process: answers what a running trigger asks of Airflow."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, get_args

from airflow.sdk.definitions.connection import Connection
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms

Answers = Callable[[Any], Any]


class FakeSupervisor:
    """Stands in for `SUPERVISOR_COMMS`, with `asend` and `send`.

    It knows connections (`connections`, then AIRFLOW_CONN_* variables), Airflow variables (AIRFLOW_VAR_*),
    the state of the trigger's own task (`task_state`) and takes XComs. `answers` is asked first and may
    return an answer for any message, None otherwise. A message that a real triggerer does not support is
    never answered, as in Airflow. `messages` lists all that was asked, `xcoms` every (key, value) pushed.
    """

    def __init__(
        self,
        ti: Any,
        connections: Mapping[str, Connection | str] | None = None,
        task_state: str = "running",
        answers: Answers | None = None,
    ) -> None:
        self.ti = ti
        self.connections = dict(connections or {})
        self.task_state = task_state
        self.answers = answers
        self.messages: list[Any] = []
        self.xcoms: list[tuple[str, Any]] = []
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def send(self, msg: Any) -> Any:
        """Ask from synchronous code: from the loop's own thread through its greenback portal."""
        if threading.get_ident() == self._thread:
            import greenback

            return greenback.await_(self.asend(msg))
        return asyncio.run_coroutine_threadsafe(self.asend(msg), self._loop).result()

    async def asend(self, msg: Any) -> Any:
        """Answer `msg` as the supervisor of a triggerer does."""
        self.messages.append(msg)
        await asyncio.sleep(0)
        if self.answers and (answer := self.answers(msg)) is not None:
            return answer
        if not isinstance(msg, _supported()):
            await asyncio.Event().wait()
        handler = getattr(self, f"_{type(msg).__name__}", None)
        if handler is None:
            hint = f"run_trigger() has no answer for {type(msg).__name__}; pass answers="
            return comms.ErrorResponse(error=ErrorType.GENERIC_ERROR, detail={"message": hint})
        return handler(msg)

    def _GetConnection(self, msg: comms.GetConnection) -> Any:  # noqa: N802 - named as the message
        given = self.connections.get(msg.conn_id, os.environ.get(f"AIRFLOW_CONN_{msg.conn_id.upper()}"))
        if given is None:
            detail = {"conn_id": msg.conn_id}
            return comms.ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail=detail)
        conn = parse_connection(msg.conn_id, given)
        names = ("conn_type", "host", "schema", "login", "password", "port", "extra")
        values: dict[str, Any] = {name: getattr(conn, name) or None for name in names}
        return comms.ConnectionResult(conn_id=msg.conn_id, **values)

    def _GetVariable(self, msg: comms.GetVariable) -> Any:  # noqa: N802
        value = os.environ.get(f"AIRFLOW_VAR_{msg.key.upper()}")
        if value is None:
            return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": msg.key})
        return comms.VariableResult(key=msg.key, value=value)

    def _GetTaskStates(self, msg: comms.GetTaskStates) -> comms.TaskStatesResult:  # noqa: N802
        if self.ti is None or msg.dag_id != self.ti.dag_id:
            return comms.TaskStatesResult(task_states={})
        index = self.ti.map_index
        name = self.ti.task_id if index is None or index < 0 else f"{self.ti.task_id}_{index}"
        return comms.TaskStatesResult(task_states={self.ti.run_id: {name: self.task_state}})

    def _SetXCom(self, msg: comms.SetXCom) -> None:  # noqa: N802
        self.xcoms.append((msg.key, msg.value))

    def _DeleteXCom(self, msg: comms.DeleteXCom) -> None:  # noqa: N802
        self.xcoms = [(key, value) for key, value in self.xcoms if key != msg.key]

    def _MaskSecret(self, msg: comms.MaskSecret) -> None:  # noqa: N802
        """Nothing to do: the message only registers a secret with the logs of the supervisor."""


def parse_connection(conn_id: str, given: Connection | str) -> Connection:
    """Read a connection from its JSON or URI; an object stays as it is."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("{"):
        return Connection.from_json(given, conn_id=conn_id)
    return Connection.from_uri(given, conn_id=conn_id)


def _supported() -> tuple[type, ...]:
    from airflow.jobs.triggerer_job_runner import ToTriggerSupervisor

    union = get_args(ToTriggerSupervisor)[0]
    return get_args(union)
