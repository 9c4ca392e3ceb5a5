"""Requests to Airflow's supervisor, from a triggerer and from a worker, in bounded time.

A triggerer has one channel for all its triggers, which serves about a hundred requests a second, one after the other
(measured on Airflow 3.3.2); one that it does not know is never answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from ork_provider.errors import NotFound, Throttled, TryAgain

SUPERVISOR_TIMEOUT = 10.0
WAKE_AFTER = 30.0
"""Seconds after which the supervisor is woken: it has all triggers to load first, and does nothing else meanwhile."""

WAKING = 300.0

_awake: Any = None
"""The channel that has been woken."""

_waking: set[asyncio.Task[None]] = set()
"""Kept from the garbage collector."""


async def ask_supervisor(message: Any, timeout: float = SUPERVISOR_TIMEOUT) -> Any:
    """Send one request and return its answer.

    In a worker nothing else runs on the loop, so that a plain send holds up nobody; and it cannot be caught halfway
    by a signal whose handler sends something, too. ``dags test`` knows no other way.
    """
    comms = _channel()
    if not _has_loop(comms):
        return comms.send(message)
    return await asyncio.wait_for(comms.asend(message), timeout)


def wake_supervisor(question: Callable[[], Any]) -> None:
    """Send a triggerer's supervisor a first request a little later, whose answer nobody needs; other calls do nothing.

    It builds Airflow's API at the first request, whatever that is: 4 to 9 seconds, on a busy machine many times that
    (measured on Airflow 3.3.2). A kill has no such time: Airflow ends ``on_kill`` after 30 seconds.
    """
    global _awake  # noqa: PLW0603 - one channel for each process
    comms = _channel()
    if comms is _awake or not _has_loop(comms):
        return
    _awake = comms
    asyncio.get_running_loop().call_later(WAKE_AFTER, _start_waking, question)


def _start_waking(question: Callable[[], Any]) -> None:
    waking = asyncio.ensure_future(_wake(question()))
    _waking.add(waking)
    waking.add_done_callback(_waking.discard)


async def _wake(message: Any) -> None:
    with contextlib.suppress(Exception):  # whoever needs an answer asks again, and says what was wrong
        await ask_supervisor(message, WAKING)


def _channel() -> Any:
    from airflow.sdk.execution_time import task_runner

    return getattr(task_runner, "SUPERVISOR_COMMS", None)


def _has_loop(comms: Any) -> bool:
    """Whether this is a triggerer's channel: a worker's has an ``asend``, too, but nobody who reads the answers."""
    return hasattr(comms, "asend") and (hasattr(comms, "start_reader") or not hasattr(comms, "socket"))


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
