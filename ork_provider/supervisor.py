"""Requests to Airflow's supervisor, from a triggerer and from a worker, in bounded time.

A triggerer has one channel for all its triggers, which serves about a hundred requests a second, one after the other
(measured on Airflow 3.3.2); one that it does not know is never answered.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ork_provider.errors import NotFound, Throttled, TryAgain

SUPERVISOR_TIMEOUT = 10.0


async def ask_supervisor(message: Any, timeout: float = SUPERVISOR_TIMEOUT) -> Any:
    """Send one request and return its answer.

    In a worker nothing else runs on the loop, so that a plain send holds up nobody; and it cannot be caught halfway
    by a signal whose handler sends something, too. ``dags test`` knows no other way.
    """
    from airflow.sdk.execution_time import task_runner

    comms: Any = task_runner.SUPERVISOR_COMMS
    in_worker = hasattr(comms, "socket") and not hasattr(comms, "start_reader")
    if in_worker or not hasattr(comms, "asend"):
        return comms.send(message)
    return await asyncio.wait_for(comms.asend(message), timeout)


PATIENT = 18.0
"""Seconds for a request that nobody has to wait for: a triggerer that has just begun takes 4 to answer its first."""


async def ask_airflow(message: Any, timeout: float = PATIENT) -> Any:
    """Send one request to which no answer is trouble that may pass.

    :raises NotFound: Airflow knows no such thing
    :raises Throttled: it did not answer in time
    :raises TryAgain: it gave no good answer
    """
    try:
        answer = await ask_supervisor(message, timeout)
    except asyncio.TimeoutError as exc:
        raise Throttled(f"Airflow did not answer {type(message).__name__} within {timeout:g} s") from exc
    except Exception as exc:  # AirflowRuntimeError, and whatever a broken channel raises
        raise _read_error(getattr(exc, "error", None), exc) from exc
    if type(answer).__name__ == "ErrorResponse":
        raise _read_error(answer, answer)
    return answer


def _read_error(answer: Any, shown: Any) -> TryAgain:
    detail = getattr(answer, "detail", None) or {}
    kind = str(getattr(getattr(answer, "error", None), "value", ""))
    if "NOT_FOUND" in kind or detail.get("status_code") == 404:
        return NotFound(f"Airflow: {detail or kind}")
    return TryAgain(f"Airflow gave no good answer: {shown}")
